"""Trains small runs on all processes of a torchrun call and writes their curves: for
test_processes.py.

usage: several.py DATA OUT CASE... where a case is METHOD-PARALLEL-ACCUMULATION[-STEPS]
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mimflow  # noqa: F401
from mimflow.backbones.chunks import chunked
from mimflow.backbones.vit import build_vit, encode, fuse_attention
from mimflow.data.augment import finish
from mimflow.data.loader import Batches
from mimflow.data.shards import Shards
from mimflow.decoders.batchnorm import GlobalBatchNorm
from mimflow.draw import Draw
from mimflow.methods import mae
from mimflow.params.check import parse, schema_of
from mimflow.params.mae import MAEParams
from mimflow.params.read import read_yaml
from mimflow.params.training import Training
from mimflow.ranks import discover
from mimflow.targets.pixels import patchify
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.clock import Clock
from mimflow.train.loop import train
from mimflow.train.outcome import Interrupted
from mimflow.train.parallel import mapped, whole
from mimflow.train.processes import gather, joined, total
from mimflow.train.record import Record

ROOT = Path(__file__).parents[2]
STEPS = 30


class Uneven(nn.Module):
    """A mean over masked patches whose number differs from image to image."""

    def __init__(self, run: MAEParams):
        super().__init__()
        self.encoder = build_vit(run.encoder.name, run.encoder.timm())
        self.head = nn.Linear(run.encoder.embed_dim, 48)

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        patches = patchify(batch["image"], 4)  # (B, N, P)
        share = draw.uniform("share", 1)  # (B, 1)
        mask = draw.uniform("mask", patches.shape[1]) < 0.1 + 0.8 * share  # (B, N)
        hidden = torch.where(mask[..., None], 0.0, patches)
        error = (self.head(encode(self.encoder, hidden)[:, 1:]) - patches).square().mean(-1)
        count = mask.sum()
        return {"loss": (error * mask).sum() / count, "count": count}


class Coupled(nn.Module):
    """Contrasts two masked views over the whole batch, through batch statistics."""

    def __init__(self, run: MAEParams):
        super().__init__()
        self.chunk: int | None = None
        self.encoder = build_vit(run.encoder.name, run.encoder.timm())
        width = run.encoder.embed_dim
        self.norm = GlobalBatchNorm(width)
        self.head = nn.Linear(width, 16)

    def embedded(self, patches: Tensor, draw: Draw, view: str) -> Tensor:
        mask = draw.uniform(view, patches.shape[1]) < 0.5
        hidden = torch.where(mask[..., None], 0.0, patches)
        tokens = chunked(lambda x: encode(self.encoder, x), self.chunk, hidden)
        return nn.functional.normalize(self.head(self.norm(tokens.mean(1))), dim=-1)

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        patches = patchify(batch["image"], 4)
        one, two = (self.embedded(patches, draw, view) for view in ("one", "two"))
        logits = one @ gather(two).T / 0.2  # (B, R B)
        partner = (gather(batch["place"])[None] == batch["place"][:, None]).int().argmax(1)  # (B,)
        return {"loss": nn.functional.cross_entropy(logits, partner)}


METHODS = {"mae": mae.build, "uneven": Uneven, "coupled": Coupled}
ZOO = ("ibot", "attmask")  # methods of their own parameters, as the zoo has them


def run_of(
    parallel: str, accumulation: int, processes: int, name: str = "mae", **compute: Any
) -> Training:
    zoo = read_yaml(ROOT / "presets/zoo.yaml")["runs"]
    values = zoo[name] if name in ZOO else read_yaml(ROOT / "presets/toy.yaml")["runs"]["mae"]
    micro = 32 // processes // accumulation
    how = {**values["compute"], "threads": 1, "precision": "fp32", "micro_batch": micro}
    how |= {"parallel": parallel, "deterministic": False, **compute}
    optimiser = {**values["optimiser"], "clip_norm": 1.0}
    changes = {"samples": 32 * STEPS, "compute": how, "optimiser": optimiser}
    if name in ZOO:
        return parse(schema_of(name), {**values, "samples": 32 * STEPS, "compute": how}, name)  # type: ignore[no-any-return]
    return MAEParams.model_validate({**values, **changes})


def main(data: str, out: str, *cases: str) -> None:
    found = discover()
    torch.set_num_threads(1)
    with joined(found) as device:
        for case in cases:
            name, parallel, accumulation, *stop = case.split("-")
            run = run_of(parallel, int(accumulation), found.count, name)
            torch.manual_seed(run.seed)
            module = importlib.import_module(f"mimflow.methods.{run.method}")
            method: nn.Module = METHODS.get(name, module.build)(run)  # type: ignore[operator]
            fuse_attention(method, device, backward=True)
            shards = Shards(Path(data) / "index.json", Path(data) / "shards", "train")
            share = found.rank, found.count
            batches = Batches(shards, module.views(run), run.batch, run.seed, 1 << 20, *share)
            keep = Checkpoints(Path(out) / f"state-{name}", writer=found.rank == 0)
            record = Record("pretrain", case, device, found)
            render = finish(shards.mean, shards.std, device)
            if stop:
                os.environ["MIMFLOW_SECONDS"] = "0"  # after the first steps
            try:
                rows = train(method, batches, render, run, keep, record, found)
            except Interrupted:
                continue
            finally:
                os.environ.pop("MIMFLOW_SECONDS", None)
            state = mapped(method.state_dict(), whole)
            if found.rank == 0:
                keep.drop()
                file = Path(out) / f"{case}-{found.count}.json"
                file.write_text(json.dumps([row["loss"] for row in rows]))
                torch.save(state, file.with_suffix(".pt"))
            total(torch.zeros(1))  # the next case must not find this one's state


if __name__ == "__main__":
    main(*sys.argv[1:])
