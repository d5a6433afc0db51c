"""What a params file would cost, before anything is submitted: jobs, GPU-hours, disk, what lacks.

Needs neither the data nor a cluster. What cannot be known is said to be unknown, never guessed.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimflow.hashes import Hashes
from mimflow.params.check import check
from mimflow.params.read import read_yaml
from mimflow.sizes import Sizes, answer_size, flops_of, sizes_of
from mimflow.stage import Stage, is_current, load, owners
from mimflow.train.flops import PEAKS
from mimflow.workflow import refresh_code, shard_files

PROFILE = Path("slurm/config.yaml")
ABSENT = (": data.source: no such", ".needs: no such file")  # what may come later
KEPT = 3  # checkpoints on the disk at once: two are kept while the next is written
HERE = Path("params.yaml")
# Where no rate is recorded or stated: a large ViT reaches a third to a half of the peak.
DEVICE, USED = "A100", 0.35


@dataclass
class Plan:
    """Stages by kind: how many are to run, how many are done, how many jobs that is; the rest is
    text for people, and bytes (None: unknown).
    """

    run: Counter[str] = field(default_factory=Counter)
    cached: Counter[str] = field(default_factory=Counter)
    jobs: Counter[str] = field(default_factory=Counter)
    hours: dict[str, tuple[float | None, str]] = field(default_factory=dict)
    disk: dict[str, int | None] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def make_plan(file: Path, rates: dict[str, float], source_bytes: int | None) -> Plan:
    """The plan of `file`. `rates`: stated images a second by run, or under '' for all.

    Raises ValueError for mistakes in the file, beside data that are not here.
    """
    values = read_yaml(file)
    plan = Plan(missing=_absent_data(values))
    stages = load(values)
    done = _done(stages) if file.resolve() == HERE.resolve() else set()
    parts = _parts()
    for stage in stages.values():
        if stage.kind == "code":
            continue
        kind = plan.cached if stage.name in done else plan.run
        kind[stage.kind] += 1
        if stage.name not in done:
            plan.jobs[stage.kind] += _jobs(stage, stages, parts)
    trained = _trained(values)
    names = [stage.partition("@")[2] for stage in trained]
    unknown = sorted({*rates} - {"", *names})
    if unknown:
        raise ValueError(f"--images-per-second: no run {unknown[0]}; {', '.join(names)}")
    for stage_name, run in trained.items():
        if stage_name not in done:
            plan.hours[stage_name.removeprefix("pretrain@")] = _hours(stage_name, run, rates, file)
    plan.disk = dict(_disk(values, stages, done, source_bytes))
    plan.missing += _missing(stages)
    return plan


def _trained(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Stage -> entry of all that is trained: runs, also those that need something, and that."""
    sections = {"pretrain": "runs"} | {s: s for s in ("taught", "teachers", "tokenizers")}
    return {
        f"{kind}@{name}": entry
        for kind, section in sections.items()
        for name, entry in values[section].items()
        if "samples" in entry
    }


def _absent_data(values: dict[str, Any]) -> list[str]:
    try:
        check(values)
    except ValueError as error:
        lines = str(error).split("\n")
        wrong = [line for line in lines if not any(text in line for text in ABSENT)]
        if wrong:
            raise ValueError("\n".join(wrong)) from None
        away = any(ABSENT[0] in line for line in lines)
        return [f"data: {values['data']['source']}"] if away else []
    return []


def _done(stages: dict[str, Stage]) -> set[str]:
    """The stages whose outputs are what would be made now."""
    refresh_code(stages)
    hashes = Hashes()
    return {s.name for s in stages.values() if is_current(s, stages, hashes)}


def _profile() -> dict[str, Any]:
    return read_yaml(PROFILE) if PROFILE.exists() else {}


def _parts() -> int:
    """How many jobs make shards at the same time."""
    found = [s.partition("=") for s in _profile().get("set-scatter", ())]
    return max([int(count) for name, _, count in found if name == "shards"], default=1)


def _jobs(stage: Stage, stages: dict[str, Stage], parts: int) -> int:
    if stage.kind != "shards":
        return 1
    return 1 + sum(bool(shard_files(stages, i, parts)) for i in range(parts))


def _hours(
    stage: str, run: dict[str, Any], rates: dict[str, float], file: Path
) -> tuple[float | None, str]:
    """GPU-hours (or process-hours) of a training, and where the rate comes from: stated, recorded
    for one of that name with as much arithmetic an image, or what a large GPU would do.
    """
    kind, _, name = stage.partition("@")
    told = "pretrain" if kind == "taught" else kind  # by what trains it
    stated = rates.get(name, rates.get(""))
    if stated:
        return run["samples"] / stated / 3600, f"{stated:,.0f} images/s a GPU, stated"
    # A step of what needs a teacher can only be counted where there is one.
    flops = flops_of(name, run) if kind == "pretrain" else None
    for path in (
        Path(f"costs/{told}/{name}.json"),
        Path(f"results/{file.stem}/costs/{told}-{name}.json"),
    ):
        cost = json.loads(path.read_bytes()) if path.exists() else {}
        if cost and (flops is None or math.isclose(cost["gflop_per_image"] * 1e9, flops)):
            rate = cost["images"] / cost["seconds"] / cost.get("processes", 1)
            source = f"{rate:,.0f} images/s on one {cost['device']}, recorded in {path}"
            return run["samples"] / rate / 3600, source
    if flops is None:
        return None, "no recorded rate: state one with --images-per-second, or run it for a minute"
    what = f"{flops / 1e9:,.1f} GFLOP an image, {USED:.0%} of the peak of one {DEVICE} (arithmetic)"
    return run["samples"] * flops / (USED * PEAKS[DEVICE] * 1e12) / 3600, what


def _disk(
    values: dict[str, Any], stages: dict[str, Stage], done: set[str], source_bytes: int | None
) -> Iterator[tuple[str, int | None]]:
    """Bytes of what is not there yet, by name."""
    if "shards" not in done:
        yield "shards (as large as the source)", source_bytes or _bytes(values["data"]["source"])
    trained = _trained(values).items()
    runs = {n: r for n, r in trained if n not in done and "encoder" in r}  # a tokenizer is small
    sizes: dict[str, Sizes] = {
        n: sizes_of(n.partition("@")[2], r if n.startswith("pretrain@") else _as_control(r))
        for n, r in runs.items()
    }  # of what needs a teacher, and of teachers, the encoder alone
    yield "encoders", sum(4 * s.encoder for s in sizes.values())
    # Weights in fp32, and the optimiser's two moments (one for SGD and LARS).
    states = [
        4 * s.trained * (3 if runs[n]["optimiser"]["kind"] == "adamw" else 2) + 4 * s.frozen
        for n, s in sizes.items()
    ]
    yield "checkpoints, while the runs last", KEPT * sum(states)
    for name, how in values["targets"].items():
        if f"targets@{name}" not in done:
            yield from _targets(name, how, values)
    yield "features", sum(_features(values, stages[name]) for name in _of(stages, done))


def _targets(
    name: str, how: dict[str, Any], values: dict[str, Any]
) -> Iterator[tuple[str, int | None]]:
    """Bytes of the stored targets `name`; of 1,000 images where their number is not known."""
    teacher = how["needs"].split("/")[1]
    numbers = answer_size(teacher, values)
    index = Path("data/index.json")
    images = json.loads(index.read_bytes())["splits"]["train"] if index.exists() else 1000
    what = f"targets {name}, {how['crops']} crops" + ("" if index.exists() else " of 1,000 images")
    yield what, how["crops"] * images * numbers * (2 if how["storage"] == "fp16" else 4)


def _of(stages: dict[str, Stage], done: set[str]) -> list[str]:
    kinds = ("features", "taught_features", "controls")
    return [s.name for s in stages.values() if s.kind in kinds and s.name not in done]


def _features(values: dict[str, Any], stage: Stage) -> int:
    """Bytes of one feature file: class token and mean, fp32, of the training images that are taken
    (held-out images come on top: how many is known when there are shards).
    """
    images = values["features"]["train_images"]
    control = values["controls"].get(stage.key, {})
    if control.get("kind") == "pixels":
        return int(4 * images * 3 * control["img_size"] ** 2)
    if stage.key in values["taught"]:
        control = _as_control(values["taught"][stage.key])
    width = sizes_of(str(stage.key), values["runs"].get(stage.key, control)).width
    return int(4 * images * 2 * width * control.get("draws", 1))


def _as_control(run: dict[str, Any]) -> dict[str, Any]:
    """A run's encoder alone."""
    return {"kind": "random", "seed": 0, "draws": 1, "encoder": run["encoder"]}


def _bytes(source: str) -> int | None:
    path = Path(source)
    if path.is_file() and path.suffix not in (".yaml", ".yml"):
        return path.stat().st_size
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return None


def _missing(stages: dict[str, Stage]) -> list[str]:
    """Weights and other inputs that no stage makes, and partitions that the cluster has not."""
    makers = owners(stages)
    wanted = {d for s in stages.values() for d in s.deps if d not in makers}
    made = {str(parent) for out in makers for parent in Path(out).parents}
    source = stages["shards"].params("data")["source"]
    lines = [f"input: {d}" for d in sorted(wanted - made - {source}) if not Path(d).exists()]
    return [*lines, *_partitions()]


def _partitions() -> list[str]:
    from mimflow.queue import partitions

    profile = _profile()
    groups = [profile.get("default-resources", {}), *profile.get("set-resources", {}).values()]
    named = {str(g["slurm_partition"]).strip("'\"") for g in groups if "slurm_partition" in g}
    known = partitions()
    if known is None:
        return ["a cluster: no sinfo here, partitions were not looked up"]
    return [f"partition: {name} ({', '.join(known)})" for name in sorted(named - {*known})]
