"""Where tests make teachers: a toy data set, one process, the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mimflow.data.shards import Shards
from mimflow.ranks import Processes
from mimflow.teachers.frozen import Teacher, open_teacher, save_teacher
from mimflow.teachers.made import Made
from mimflow.train.place import Place

VIT: dict[str, Any] = {"kind": "vit", "name": "vit_tiny_patch16_224", "img_size": 32}
VIT |= {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
IMAGES = "data/index.json"
COMPUTE: dict[str, Any] = {"threads": 1, "precision": "fp32", "micro_batch": 16, "parallel": "ddp"}
COMPUTE |= {"recompute": False, "compile": False, "tf32": False, "deterministic": True}
OPTIMISER: dict[str, Any] = {
    "kind": "adamw",
    "base_lr": 1.5e-4,
    "lr_batch": 256,
    "betas": [0.9, 0.999],
}
OPTIMISER |= {"eps": 1e-8, "weight_decay": 0.1, "undecayed": [], "clip_norm": None}
OPTIMISER |= {"clip_each": None}
SCHEDULE: dict[str, Any] = {"shape": "cosine", "warmup": 0.1, "start_lr": 0.0, "final_lr": 0.0}
SCHEDULE |= {"milestones": [], "gamma": 0.1, "final_decay": None}
BUDGET: dict[str, Any] = {
    "needs": IMAGES,
    "seed": 0,
    "samples": 192,
    "batch": 32,
    "order_window": None,
}
BUDGET |= {"compute": COMPUTE, "optimiser": OPTIMISER, "schedule": SCHEDULE, "skip_non_finite": 0}


def place(shards: Shards, state: Path) -> Place:
    return Place("teachers", "t", state, shards, Processes(0, 1, 0), torch.device("cpu"))


def saved(made: Made, shards: Shards, folder: Path, kind: str) -> Teacher:
    """As the stage writes it, opened again."""
    data = {"mean": shards.mean, "std": shards.std}
    card = {"licence": None, **made.card, "teacher": kind, "data": data}
    save_teacher(folder, made.encoder, card, made.projection)
    return open_teacher(folder / "weights.safetensors")
