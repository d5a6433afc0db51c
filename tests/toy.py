"""A toy data set and run for tests of the loop: seconds, real shards, the real method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from mimflow.backbones.vit import fuse_attention
from mimflow.data.loader import Batches
from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.publish import publish
from mimflow.data.sharding.write import write_part
from mimflow.data.shards import Shards
from mimflow.data.sources import open_source
from mimflow.methods import mae
from mimflow.params.mae import MAEParams
from mimflow.params.read import read_yaml

ROOT = Path(__file__).parents[1]
LIMIT = 1 << 20


def make_shards(folder: Path) -> Shards:
    """The training split of 150 drawn images in two shards."""
    drawing = folder / "scenes.yaml"
    drawing.write_text(
        "{kind: scenes, seed: 0, train: 150, test: 10, size: 32, clutter: clear, objects: 1}"
    )
    source = open_source(str(drawing))
    write_part(source, folder / "parts", 0, 1, 2, 0.1, LIMIT)
    merge(source, folder / "parts", folder / "index.json", folder / "audit.json", 2, 0.0)
    publish(folder / "parts", folder / "shards")
    return Shards(folder / "index.json", folder / "shards", "train")


def toy_run(**changes: Any) -> MAEParams:
    """The toy preset's run, with a few steps."""
    values = read_yaml(ROOT / "presets/toy.yaml")["runs"]["mae"]
    compute = {**values["compute"], "threads": 1, **changes.pop("compute", {})}
    return MAEParams.model_validate({**values, "samples": 640, "compute": compute, **changes})


def toy_method(run: MAEParams) -> nn.Module:
    """MAE with the weights of the run's seed."""
    torch.manual_seed(run.seed)
    method = mae.build(run)
    fuse_attention(method, torch.device("cpu"), backward=True)
    return method


def toy_batches(shards: Shards, run: MAEParams, rank: int = 0, ranks: int = 1) -> Batches:
    """The run's batches."""
    return Batches(shards, mae.views(run), run.batch, run.seed, LIMIT, rank, ranks)
