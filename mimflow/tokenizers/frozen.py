"""A tokenizer as an artifact: weights.safetensors, and card.json beside it. Pictures in, code ids
or logits out; nothing in it is trained.

The card says all that is needed to build and feed it: `net` and its sizes, `codes` (K), `grid`,
`img_size`, `scale` and `shift` (what maps [0, 1] to its input), `distance`. It stands in the
weights' file too; what is found on held-out pictures stands in card.json alone, so that measuring
more of them reruns nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mimflow.files import canonical, replacing, write
from mimflow.tokenizers.convs import Down, as_tokens
from mimflow.tokenizers.dalle import DallE
from mimflow.tokenizers.patches import PatchNet

NETS: dict[str, type[nn.Module]] = {"convs": Down, "patches": PatchNet, "dalle": DallE}


class Frozen(nn.Module):
    """`net` gives logits (B, K, h, w), or with a `codebook` (K, d) of unit vectors what is nearest
    to one of them: a map (B, d, h, w) or tokens (B, N, d).
    """

    codebook: Tensor | None

    def __init__(self, net: nn.Module, codebook: Tensor | None, card: dict[str, Any]):
        super().__init__()
        self.net, self.card = net, card
        self.register_buffer("codebook", codebook)
        self.num_codes: int = card["codes"]
        self.grid = (card["grid"][0], card["grid"][1])
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Frozen:
        """Stays in evaluation: it is no part of what is trained."""
        return super().train(False)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """float32 (B, N, K) of pictures (B, 3, S, S) in [0, 1]: those of the network, or of a
        codebook minus the squared distance over the mean one to the nearest code.
        """
        with torch.autocast(images.device.type, enabled=False):
            x = self.net(images.float() * self.card["scale"] + self.card["shift"])
            x = as_tokens(x) if x.ndim == 4 else x
            if self.codebook is None:
                return x
            cosine = nn.functional.normalize(x, dim=-1) @ self.codebook.T
            return (2 * cosine - 2) / self.card["distance"]

    def codes(self, images: Tensor) -> Tensor:
        """int64 (B, N) in [0, K), in raster order: the likeliest, the lowest of equal ones."""
        return self.logits(images).argmax(-1)

    def check(self, size: int, grid: tuple[int, int]) -> None:
        """Raises ValueError where pictures of `size` do not give the `grid` of an encoder."""
        ours = tuple(size * side // self.card["img_size"] for side in self.grid)
        fixed = self.card["net"]["kind"] == "patches"
        if ours != tuple(grid) or (fixed and size != self.card["img_size"]):
            raise ValueError(
                f"tokens.size {size}: the tokenizer, made for {self.card['img_size']} pixels and"
                f" a grid of {self.grid[0]} x {self.grid[1]}, gives {ours[0]} x {ours[1]} codes,"
                f" but the encoder has {grid[0]} x {grid[1]} patches"
            )


def build_net(net: dict[str, Any]) -> nn.Module:
    """The network of a card's `net`: its kind, and its sizes by the names of its constructor."""
    return NETS[net["kind"]](**{key: value for key, value in net.items() if key != "kind"})


def save_tokenizer(folder: Path, tokenizer: Frozen, facts: dict[str, Any]) -> None:
    """Writes the weights with the card in them, and the card with `facts` beside them."""
    tensors = {k: x.detach().cpu().contiguous().clone() for k, x in tokenizer.state_dict().items()}
    with replacing(folder / "weights.safetensors") as file:
        save_file(tensors, file, {"card": json.dumps(tokenizer.card, sort_keys=True)})
    write(folder / "card.json", canonical({**tokenizer.card, **facts}))


def load_tokenizer(path: Path) -> Frozen:
    """The tokenizer of tokenizers/NAME/weights.safetensors. Raises ValueError if it is not one."""
    try:
        with safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {})["card"])
        state = load_file(path)
        with torch.random.fork_rng(devices=[]):  # a run's first weights do not depend on it
            net = build_net(card["net"])
    except (KeyError, OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not a tokenizer with a card ({error})") from None
    tokenizer = Frozen(net, state.get("codebook"), card)
    tokenizer.load_state_dict(state)
    return tokenizer
