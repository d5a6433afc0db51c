"""An encoder on disk: safetensors that a plain `timm.create_model` loads, and a card that says how.

The card stands in the file's metadata under one key, as canonical JSON (several keys would be
written in an order that differs between processes).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer

from mimflow.backbones.vit import build_vit
from mimflow.files import replacing


def save_encoder(path: Path, encoder: VisionTransformer, card: dict[str, Any]) -> None:
    """Writes the weights and the card: {timm: {name, kwargs}, mean, std, img_size, ...}."""
    tensors = {
        name: x.detach().cpu().contiguous().clone() for name, x in encoder.state_dict().items()
    }
    with replacing(path) as file:
        save_file(tensors, file, {"card": json.dumps(card, sort_keys=True)})


def load_encoder(path: Path) -> tuple[VisionTransformer, dict[str, Any]]:
    """The encoder in evaluation mode, and its card. Raises ValueError if the file is not one of
    ours.
    """
    try:
        with safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {})["card"])
    except (KeyError, OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not an encoder with a card ({error})") from None
    vit = build_vit(card["timm"]["name"], card["timm"]["kwargs"])
    vit.load_state_dict(load_file(path))
    return vit.eval(), card


def device() -> torch.device:
    """Where to compute: the first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
