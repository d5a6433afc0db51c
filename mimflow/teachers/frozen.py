"""A teacher: frozen weights that say what an image holds, with a card that says what they are.

Methods take their targets from it, and masks from its attention. It is an artifact, made once by
the stage `teachers` and then only read, whatever it comes from. N patches of its grid, D the width
of what it gives.
"""

from __future__ import annotations

import json
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mimflow.backbones.grid import flat
from mimflow.backbones.vit import fuse_attention
from mimflow.encoder import build_encoder
from mimflow.files import canonical, replacing, sha256, write


class Seen(NamedTuple):
    """What a teacher makes of images.

    `tokens` (B, N, D) of the patches in raster order. `whole` (B, D) of the image: the class token,
    or the mean of the tokens where there is none. `attention` (B, N), where asked for: how much the
    class token looks at each patch in the last block, mean over heads; with the class token's look
    at itself it adds up to 1.
    """

    tokens: Tensor
    whole: Tensor
    attention: Tensor | None


class Teacher(nn.Module):
    """`card`: what `describe` gives; `projection` (D, width), applied to every token.

    Its weights are held outside the module's own, so that they are no part of a method's
    parameters, of its gradient's traffic or of its checkpoints: the artifact has them.
    """

    def __init__(self, encoder: nn.Module, card: dict[str, Any], projection: Tensor | None):
        super().__init__()
        self.card = card
        fuse_attention(encoder, torch.device("cpu"), backward=False)
        self.held = (encoder.requires_grad_(False).eval(),)
        self.projection = projection
        # From the statistics that images come in to the teacher's own.
        ours, theirs = card["data"], card
        scale = torch.tensor(ours["std"]) / torch.tensor(theirs["std"])
        lift = (torch.tensor(ours["mean"]) - torch.tensor(theirs["mean"])) / torch.tensor(
            theirs["std"]
        )
        self.register_buffer("scale", scale[:, None, None], persistent=False)
        self.register_buffer("lift", lift[:, None, None], persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Teacher:
        """Moves the held weights too."""
        self.held[0]._apply(fn)
        if self.projection is not None:
            self.projection = fn(self.projection)
        return cast(Teacher, super()._apply(fn, recurse))

    @torch.no_grad()
    def forward(self, images: Tensor, norm: bool = True, attention: bool = False) -> Seen:
        """Of `images` (B, C, S, S), standardised by the data's statistics; of another size they are
        scaled to the teacher's.

        `norm` false: the last block's output as it is, no final norm and no projection (dBOT).
        Raises ValueError for what the teacher does not have.
        """
        if self.card["renormalised"]:
            images = images * cast(Tensor, self.scale) + cast(Tensor, self.lift)
        if images.shape[-1] != self.card["img_size"]:
            images = nn.functional.interpolate(
                images, size=(self.card["img_size"],) * 2, mode="bicubic", antialias=True
            )
        encoder: Any = self.held[0]
        looks: list[Tensor] = []
        hook = _watch(encoder, looks) if attention else None
        try:
            x = encoder.forward_features(images) if norm else _unnormed(encoder, images)
        finally:
            if hook is not None:
                hook.remove()
        prefix = getattr(encoder, "num_prefix_tokens", 0)
        x = flat(encoder, x) if x.ndim == 4 else x  # (B, prefix + N, D)
        if norm and self.projection is not None:
            x = nn.functional.linear(x, self.projection)
        x = x.float()
        tokens = x[:, prefix:]
        whole = x[:, 0] if prefix else tokens.mean(1)
        look = looks[0][:, :, 0, prefix:].float().mean(1) if looks else None  # (B, N)
        return Seen(tokens, whole, look)


def _watch(encoder: Any, looks: list[Tensor]) -> Any:
    """Keeps the last block's attention (B, heads, T, T), after the softmax that it is made of."""
    if not isinstance(encoder, VisionTransformer | Beit) or not encoder.num_prefix_tokens:
        raise ValueError(f"teacher: {type(encoder).__name__} has no class token that looks")
    last: Any = encoder.blocks[-1].attn
    last.fused_attn = False  # the fused call has no weights to show
    return last.attn_drop.register_forward_pre_hook(lambda part, inputs: looks.append(inputs[0]))


def _unnormed(encoder: nn.Module, images: Tensor) -> Tensor:
    if not isinstance(encoder, VisionTransformer | Beit):
        raise ValueError(f"teacher: {type(encoder).__name__} does not show what its norm is given")
    found: Any = encoder.forward_intermediates(
        images,
        indices=1,
        return_prefix_tokens=True,
        norm=False,
        output_fmt="NLC",
        intermediates_only=True,
    )
    [(tokens, first)] = found
    return torch.cat([first, tokens], dim=1)


def describe(encoder: nn.Module, card: dict[str, Any], projection: Tensor | None) -> dict[str, Any]:
    """`card` with what the teacher gives: grid, width, whether it has attention. Raises ValueError
    where a grey image is no finite square grid of tokens.
    """
    card = card | {"renormalised": card["data"] != {"mean": card["mean"], "std": card["std"]}}
    teacher = Teacher(encoder, card, projection)
    looks = isinstance(encoder, VisionTransformer | Beit) and bool(encoder.num_prefix_tokens)
    size = card["img_size"]
    seen = teacher(torch.zeros(1, 3, size, size), attention=looks)
    count, width = seen.tokens.shape[1:]
    if isqrt(count) ** 2 != count:
        raise ValueError(f"teacher: {count} patches of a picture of {size} pixels are no square")
    if not all(x.isfinite().all() for x in seen if x is not None):
        raise ValueError("teacher: what it makes of a grey picture is not finite")
    facts = {"grid": [isqrt(count)] * 2, "width": width, "attention": looks}
    return {**card, **facts, "projection": None if projection is None else len(projection)}


def save_teacher(
    folder: Path, encoder: nn.Module, card: dict[str, Any], projection: Tensor | None
) -> None:
    """Writes weights.safetensors, whose tensors timm names so too (`head.weight`: the projection),
    and card.json, which has the hash of that file.
    """
    card = describe(encoder, card, projection)
    tensors = dict(encoder.state_dict())
    if projection is not None:
        tensors["head.weight"] = projection
    plain = {name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()}
    with replacing(folder / "weights.safetensors") as file:
        save_file(plain, file, {"card": json.dumps(card, sort_keys=True)})
    made = {**card, "sha256": sha256(folder / "weights.safetensors")}
    write(folder / "card.json", canonical(made))


def read_card(path: Path) -> dict[str, Any]:
    """The card of the file of a teacher. Raises ValueError if it is none."""
    try:
        with safe_open(path, "pt") as file:
            card: dict[str, Any] = json.loads((file.metadata() or {})["card"])
        if "teacher" not in card:
            raise KeyError("teacher")
    except (KeyError, OSError, SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: not a teacher with a card ({error})") from None
    return card


def open_teacher(path: Path) -> Teacher:
    """The teacher in the file that the stage `teachers` wrote. Raises ValueError if it is none."""
    card = read_card(path)
    tensors = load_file(path)
    projection = tensors.pop("head.weight") if card["projection"] else None
    with torch.random.fork_rng(devices=[]):  # a run draws its first weights as without a teacher
        encoder = build_encoder(card)
    encoder.load_state_dict(tensors)
    return Teacher(encoder, card, projection)
