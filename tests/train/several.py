"""Trains small runs on all processes of a torchrun call and writes their curves: for
test_processes.py.

usage: several.py DATA OUT CASE... where a case is NAME-PARALLEL-ACCUMULATION[-STEPS], the name one
of METHODS or of a run or tokenizer of the zoo, with _ for -
"""

from __future__ import annotations

import copy
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

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
from mimflow.params.tokenizers import TOKENIZERS
from mimflow.params.training import Budget
from mimflow.ranks import discover
from mimflow.targets.pixels import patchify
from mimflow.train import loop
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.clock import Clock
from mimflow.train.loop import train
from mimflow.train.memory import fitting
from mimflow.train.outcome import Interrupted
from mimflow.train.parallel import mapped, whole
from mimflow.train.processes import gather, joined, total
from mimflow.train.record import Record
from mimflow.train.step import Stepper

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


METHODS = {"mae": mae.build, "uneven": Uneven, "coupled": Coupled}  # with the toy preset's run
METHODS |= {"sgd": mae.build, "tried": mae.build, "saves": mae.build}
ZOO = read_yaml(ROOT / "presets/zoo.yaml")


class Tried(Stepper):
    """Tries the memory before the first step, as on a GPU."""

    def gradient(self, batch: dict[str, Tensor], clock: Clock) -> dict[str, Tensor]:
        if clock.step == 0:
            whole = self.micro
            fitting(self.method, lambda m: self.trial(batch, m), whole, batch["image"].device)
        return super().gradient(batch, clock)


class Saves(Checkpoints):
    """Remembers when it was asked to save."""

    def __init__(self, *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        self.steps: list[int] = []

    def save(self, step: int, state: dict[str, Any]) -> None:
        self.steps.append(step)
        super().save(step, state)


class Entry(NamedTuple):
    """What is trained: `module` has its views and what builds it."""

    params: Any
    module: Any
    mean: list[float]
    std: list[float]


def run_of(
    parallel: str, accumulation: int, processes: int, name: str = "mae", **compute: Any
) -> MAEParams:
    values = read_yaml(ROOT / "presets/toy.yaml")["runs"]["mae"]
    optimiser = {**values["optimiser"], "clip_norm": 1.0}
    if name == "sgd":
        kept = {k: x for k, x in optimiser.items() if k not in ("betas", "eps")}
        optimiser = {**kept, "kind": "sgd", "momentum": 0.9, "nesterov": True, "base_lr": 0.1}
    changed = {**values, "optimiser": optimiser}
    return MAEParams.model_validate(shortened(changed, parallel, accumulation, processes, compute))


def shortened(
    values: dict[str, Any], parallel: str, accumulation: int, processes: int, more: dict[str, Any]
) -> dict[str, Any]:
    """An entry of a preset for STEPS steps of 32 images in fp32."""
    compute = {**values["compute"], "threads": 1, "precision": "fp32", "deterministic": False}
    compute |= {"parallel": parallel, "micro_batch": 32 // processes // accumulation, **more}
    return {**values, "batch": 32, "samples": 32 * STEPS, "compute": compute}


def entry_of(name: str, cut: tuple[str, int, int], shards: Shards) -> Entry:
    """The toy run or the zoo's run or tokenizer of this name."""
    if name in METHODS:
        return Entry(run_of(*cut, name), mae, shards.mean, shards.std)
    entries = {**ZOO["runs"], **ZOO["taught"], **ZOO["tokenizers"]}
    values = copy.deepcopy(entries[name.replace("_", "-")])
    values = shortened(values, *cut, {})
    if name not in ZOO["tokenizers"]:
        found: Budget = parse(schema_of(values["method"]), values, name)
        module = importlib.import_module(f"mimflow.methods.{values['method']}")
        return Entry(found, module, shards.mean, shards.std)
    values |= {"least_perplexity": 0.0} | ({"sight": "fp32"} if "sight" in values else {})
    values["codebook"] |= {"revive": 2}
    found = parse(TOKENIZERS[values["kind"]], values, name)  # type: ignore[assignment]
    module = importlib.import_module(f"mimflow.tokenizers.{values['kind']}")
    return Entry(found, module, [0.0] * 3, [1.0] * 3)


def main(data: str, out: str, *cases: str) -> None:
    found = discover()
    torch.set_num_threads(1)
    with joined(found) as device:
        for case in cases:
            name, parallel, accumulation, *stop = case.split("-")
            shards = Shards(Path(data) / "index.json", Path(data) / "shards", "train")
            entry = entry_of(name, (parallel, int(accumulation), found.count), shards)
            run, views = entry.params, entry.module.views(entry.params)
            torch.manual_seed(run.seed)
            method: Any = METHODS.get(name, entry.module.build)(run)
            fuse_attention(method, device, backward=True)
            share = found.rank, found.count
            batches = Batches(shards, views, run.batch, run.seed, 1 << 20, *share)
            keep = Saves(Path(out) / f"state-{name}", writer=found.rank == 0)
            loop.Stepper = Tried if name == "tried" else Stepper
            os.environ["MIMFLOW_CHECKPOINT_SECONDS"] = "0" if name == "saves" else "60"
            record = Record("pretrain", case, device, found)
            render = finish(entry.mean, entry.std, device)
            if getattr(method, "start_images", 0):
                first = Batches(shards, views, method.start_images, run.seed, 1 << 20)[0]
                method.start(render({n: torch.as_tensor(x) for n, x in first.items()})["image"])
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
                file.write_text(json.dumps(rows))
                file.with_suffix(".saved").write_text(json.dumps(keep.steps))
                torch.save(state, file.with_suffix(".pt"))
            total(torch.zeros(1))  # the next case must not find this one's state


if __name__ == "__main__":
    main(*sys.argv[1:])
