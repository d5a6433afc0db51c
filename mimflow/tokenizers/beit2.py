"""BEiT v2's public VQ-KD (arXiv 2208.06366) under our names: encoder, bottleneck, codebook.

Sizes are read from the tensors; heads are 64 wide, as published.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mimflow.tokenizers.frozen import Frozen, build_net

HEAD = 64
BOOK = "quantize.embedding.weight"


def own_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of encoder and bottleneck; decoder, counters and the like are left out."""
    found = {}
    for name, x in state.items():
        if name.startswith("encode_task_layer."):
            found[name.replace("encode_task_layer", "task")] = x
        elif name.startswith("encoder."):
            found[name.replace("encoder.fc_norm.", "encoder.norm.")] = x
    return found


def card_of(state: dict[str, Tensor], size: int) -> dict[str, Any]:
    """The card, of own names and the codebook. Raises KeyError for a tensor that is absent."""
    width, _, patch, _ = state["encoder.patch_embed.proj.weight"].shape
    places = state["encoder.pos_embed"].shape[1] - 1
    depth = 1 + max(int(n.split(".")[2]) for n in state if n.startswith("encoder.blocks."))
    codes, dim = state[BOOK].shape
    side = round(places**0.5)
    sizes = {"size": side * patch, "patch": patch, "width": width, "depth": depth}
    net = {"kind": "patches", **sizes, "heads": max(width // HEAD, 1), "channels": 3, "out": dim}
    facts = {"codes": codes, "grid": [side, side], "img_size": size, "distance": 1.0}
    return {"kind": "beit2", "net": net, **facts, "scale": 2.0, "shift": -1.0}


def frozen(state: dict[str, Tensor], size: int) -> Frozen:
    """The tokenizer of a public checkpoint. Raises KeyError or RuntimeError where tensors lack."""
    card = card_of(state, size)
    net = build_net(card["net"])
    net.load_state_dict(own_names(state))
    book = state[BOOK].float()
    return Frozen(net, book / book.norm(dim=-1, keepdim=True), card)
