"""A teacher that others trained: the vision tower of a file, hash checked, nothing executed."""

from __future__ import annotations

import json
from math import isqrt
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from mimflow.encoder import build_encoder, build_timm, input_size
from mimflow.files import sha256
from mimflow.foreign import fill, read_tensors
from mimflow.params.teachers import ImportedTeacher
from mimflow.teachers.clip import as_timm
from mimflow.teachers.made import Made
from mimflow.train.place import Place


def make(params: ImportedTeacher, place: Place) -> Made:
    """The tower with its own statistics and projection. Raises ValueError where the file has
    another hash, another architecture, lacks a tensor, or holds anything but tensors.
    """
    path, name, kwargs = Path(params.needs), params.timm.name, params.timm.kwargs
    digest = sha256(path)
    if digest != params.sha256:
        raise ValueError(
            f"{path}: sha256 is {digest}, but teachers.{place.key}.sha256 expects {params.sha256}"
        )
    found = {key: x.float() for key, x in read_tensors(path).items() if x.is_floating_point()}
    found = as_timm(found) if params.names == "clip" else found
    encoder = build_timm(name, kwargs)
    _refuse_other_heads(path, encoder, name)
    projection = _projection(found, params.projection, path)
    _fit_positions(found, encoder)
    fill(encoder, found, path, f"timm's {name} with {kwargs}")
    card = {
        "kind": "timm",
        "timm": {"name": name, "kwargs": {**kwargs, "num_classes": 0}},
        "img_size": input_size(encoder),
        "mean": params.mean,
        "std": params.std,
        "origin": {"file": params.needs, "sha256": digest},
        "licence": params.licence,
    }
    return Made(encoder, card, projection)


def _projection(found: dict[str, Tensor], width: int | None, path: Path) -> Tensor | None:
    """(width, D) of the file's `head`, which is taken out; None where none is kept."""
    bias, weight = found.pop("head.bias", None), found.pop("head.weight", None)
    if width is None:
        return None
    if weight is None or len(weight) != width:
        there = "none" if weight is None else f"one of width {len(weight)}"
        raise ValueError(f"{path}: a projection of width {width} is expected; there is {there}")
    if bias is not None and bias.any():
        raise ValueError(f"{path}: head.bias is not zero: that is a classifier, no projection")
    return weight


def _fit_positions(found: dict[str, Tensor], encoder: nn.Module) -> None:
    """Resizes the file's position table to the encoder's grid (bicubic, antialiased)."""
    wanted: Any = getattr(encoder, "pos_embed", None)
    table = found.get("pos_embed")
    if table is None or wanted is None or table.shape == wanted.shape:
        return
    prefix = cast(int, getattr(encoder, "num_prefix_tokens", 0))
    old = isqrt(table.shape[1] - prefix)
    if table.shape[2] != wanted.shape[2] or old * old != table.shape[1] - prefix:
        return  # `fill` names the shapes
    new = list(cast(Any, encoder).patch_embed.grid_size)
    found["pos_embed"] = resample_abs_pos_embed(table, new, [old, old], prefix)


def _refuse_other_heads(path: Path, encoder: nn.Module, name: str) -> None:
    """Shapes do not tell how many heads there are; where the file has a card, that does."""
    if path.suffix != ".safetensors":
        return
    try:
        with safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {}).get("card", "{}"))
    except (SafetensorError, ValueError):
        return  # weights of others may say what they like
    if "timm" not in card:
        return
    with torch.device("meta"):
        theirs = _heads(build_encoder(card))
    if theirs != _heads(encoder):
        raise ValueError(
            f"{path}: its card says {theirs} heads, but timm's {name} has {_heads(encoder)}"
        )


def _heads(encoder: nn.Module) -> list[int]:
    return [part.num_heads for part in encoder.modules() if hasattr(part, "num_heads")]  # type: ignore[misc]
