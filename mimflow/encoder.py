"""An encoder on disk: safetensors that a plain `timm.create_model` loads, and a card that says how.

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

from mimflow.device import device as device  # stages take it from here
from mimflow.files import replacing


def save_encoder(path: Path, encoder: nn.Module, card: dict[str, Any]) -> None:
    """Writes the weights and the card: {timm: {name, kwargs}, mean, std, img_size, ...}."""
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
    model = build_timm(card["timm"]["name"], card["timm"]["kwargs"])
    model.load_state_dict(load_file(path))
    return model.eval(), card


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
