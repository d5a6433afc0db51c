"""Tiny runs of FastMIM on the encoders of toy_encoders, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from toy_encoders import backbone

from mimflow.draw import Draw
from mimflow.methods.fastmim import FastMIM, assemble
from mimflow.params.fastmim import FastMIMParams
from mimflow.params.read import read_yaml
from mimflow.train.clock import Clock

CLOCK = Clock(0, 10, 0.0, 1.0)
HOG = {"kind": "hog", "bins": 9, "cell": 8, "window": None, "normalise": True}
BLOCK = {"vit": 16, "swin": 32, "pvt": 32}
COMPUTE = {"threads": 1, "precision": "fp32", "micro_batch": 64, "recompute": False}
COMPUTE |= {"parallel": "ddp", "compile": False, "tf32": False, "deterministic": True}


def run(**changes: Any) -> FastMIMParams:
    """Parameters of a run at 64 px, with changes."""
    params = read_yaml(Path(__file__).parents[1] / "presets/toy.yaml")
    values = {**params["runs"]["mae"], "method": "fastmim", "block": 16, "target": HOG}
    del values["norm_pixels"]
    size = {"img_size": 64, "patch_size": 16, "embed_dim": 24, "depth": 3, "num_heads": 2}
    values["encoder"] = {**values["encoder"], **size}
    values |= {"decoder": {"width": 32, "depth": 1}, "drop_layers": 0, "compute": COMPUTE}
    values |= {"sizes": [{"img_size": 64, "start": 0.0}], **changes}
    return FastMIMParams.model_validate(values)


def method(name: str = "vit", **changes: Any) -> FastMIM:
    """FastMIM on one of the three encoders."""
    encoder = backbone(name)
    return assemble(encoder, run(**{"block": BLOCK[name], **changes}))


def images(count: int = 2, size: int = 64) -> Tensor:
    """Noise."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def draw_of(count: int = 2) -> Draw:
    """Of the first rows."""
    return Draw(torch.arange(count), "test")
