"""An encoder by its kind, and on disk: safetensors that a plain `timm.create_model` loads, and a
card that says how.

The card stands in the file's metadata under one key, as canonical JSON (several keys would be
written in an order that differs between processes).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from mimflow.backbones.beit import build_beit
from mimflow.backbones.grid import build_grid
from mimflow.backbones.initialise import accepted
from mimflow.backbones.relative import build_relative
from mimflow.backbones.vit import build_learned, build_vit
from mimflow.device import device as device  # stages take it from here
from mimflow.files import replacing
from mimflow.params.fields import Encoder

LOADER = "mimflow.encoder.load_encoder"


def described(encoder: Encoder) -> dict[str, Any]:
    """The part of a card that says how the encoder of a run or control is built.

    `timm`: {name, kwargs} of `timm.create_model`. Where that is not the whole encoder, `loader`
    names the function that makes it.
    """
    timm = {"name": encoder.name, "kwargs": accepted(encoder.name, encoder.timm())}
    card = {"kind": encoder.kind, "timm": timm, "img_size": encoder.img_size}
    return {**card, "loader": LOADER} if encoder.kind == "relative" else card


def build_encoder(card: dict[str, Any]) -> nn.Module:
    """The encoder that a card describes, with its first weights. Raises ValueError where timm can
    not build it.
    """
    build = {
        "vit": build_vit,
        "learned": build_learned,
        "beit": build_beit,
        "grid": build_grid,
        "relative": build_relative,
        "timm": build_timm,
    }[card["kind"]]
    return build(card["timm"]["name"], card["timm"]["kwargs"])


def input_size(encoder: Any) -> int:
    """The side in pixels of the pictures that the encoder expects."""
    size = getattr(getattr(encoder, "patch_embed", None), "img_size", None)
    return int(size[0] if size else encoder.pretrained_cfg["input_size"][-1])


def save_encoder(path: Path, encoder: nn.Module, card: dict[str, Any]) -> None:
    """Writes the weights and the card: {kind, timm: {name, kwargs}, img_size, mean, std, ...}."""
    tensors = {
        name: x.detach().cpu().contiguous().clone() for name, x in encoder.state_dict().items()
    }
    with replacing(path) as file:
        save_file(tensors, file, {"card": json.dumps(card, sort_keys=True)})


def load_encoder(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The encoder in evaluation mode, and its card. Raises ValueError if the file is not one of
    ours.
    """
    try:
        with safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {})["card"])
    except (KeyError, OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not an encoder with a card ({error})") from None
    if not {"kind", "timm"} <= card.keys():
        raise ValueError(f"{path}: its card lacks kind or timm: an older version's? Make it again")
    encoder = build_encoder(card)
    encoder.load_state_dict(load_file(path))
    return encoder.eval(), card


def build_timm(name: str, kwargs: dict[str, Any]) -> nn.Module:
    """timm's model `name` without a head. Raises ValueError where timm has none or its arguments do
    not fit.
    """
    try:
        model = timm.create_model(name, pretrained=False, **{**kwargs, "num_classes": 0})
    except (TypeError, RuntimeError, AssertionError) as error:
        raise ValueError(f"encoder: timm can not build {name} with {kwargs}: {error}") from None
    assert isinstance(model, nn.Module)
    return model
