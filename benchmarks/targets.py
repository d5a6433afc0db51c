"""A step with the teacher itself beside one with stored targets: images a second, losses.

usage: python -m benchmarks.targets [--steps 20] [--width 128] [--depth 4]

Both train the same student on the same crops, in turns, in one process and one thread. The teacher
has the student's size unless said otherwise; medians over the steps.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import student
from benchmarks.student_params import StudentParams
from mimflow.backbones.vit import fuse_attention
from mimflow.data.augment import finish, one_view
from mimflow.data.loader import Batches
from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.publish import publish
from mimflow.data.sharding.write import write_part
from mimflow.data.shards import Shards
from mimflow.data.sources import open_source
from mimflow.params.read import read_yaml
from mimflow.params.targets import Targets
from mimflow.params.teachers import RandomTeacher
from mimflow.ranks import Processes
from mimflow.teachers import random
from mimflow.teachers.frozen import save_teacher
from mimflow.teachers.stored import Stored, finite
from mimflow.teachers.storing import store
from mimflow.train.loop import clock_at
from mimflow.train.optim import build_optimiser, parameter_groups
from mimflow.train.place import Place
from mimflow.train.scale import LossScale
from mimflow.train.step import Stepper

ROOT, LIMIT, CPU = Path(__file__).parents[1], 1 << 20, torch.device("cpu")
TEACHER, INDEX = "teachers/t/weights.safetensors", "targets/t/index.json"


def prepare(encoder: dict[str, Any], augment: dict[str, Any], images: int) -> Shards:
    """Drawn images, a random teacher and its stored targets of two crops, in this folder."""
    counts = f"train: {images}, test: 10, size: 32, clutter: clear, objects: 1"
    Path("scenes.yaml").write_text(f"{{kind: scenes, seed: 0, {counts}}}")
    source = open_source("scenes.yaml")
    write_part(source, Path("parts"), 0, 1, 2, 0.1, LIMIT)
    merge(source, Path("parts"), Path("index.json"), Path("audit.json"), 2, 0.0)
    publish(Path("parts"), Path("shards"))
    shards = Shards(Path("index.json"), Path("shards"), "train")
    values = {"kind": "random", "needs": "data/index.json", "seed": 0, "encoder": encoder}
    place = Place("teachers", "t", Path("state"), shards, Processes(0, 1, 0), CPU)
    made = random.make(RandomTeacher.model_validate(values), place)
    card = {**made.card, "teacher": "random", "data": {"mean": shards.mean, "std": shards.std}}
    save_teacher(Path("teachers/t"), made.encoder, card, None)
    how = {"needs": TEACHER, "crops": 2, "seed": 0, "img_size": 32, "augment": augment}
    how |= {"norm": True, "storage": "fp16", "num_shards": 2, "batch": 100, "precision": "bf16"}
    store(Path("targets/t"), Targets.model_validate({**how, "threads": 1}), shards)
    return shards


def stepper_of(run: StudentParams) -> Stepper:
    """The student with its first weights, ready for steps."""
    torch.manual_seed(run.seed)
    method = student.build(run)
    fuse_attention(method, CPU, backward=True)
    groups = parameter_groups(list(method.named_parameters()), 0.05, ["vectors"])
    optimiser = build_optimiser(groups, run.optimiser)
    return Stepper(method, method, optimiser, run, run.batch, LossScale(False, CPU))


def compare(run: StudentParams, shards: Shards, steps: int) -> dict[str, dict[str, list[float]]]:
    """seconds and losses of each step, `online` and `stored` in turns on the same crops."""
    stored = run.model_copy(update={"needs": INDEX})
    look = finite(one_view(run.augment, run.encoder.img_size), Stored(Path(INDEX)).crops)
    ways = {"online": (run, look), "stored": (stored, student.views(stored))}
    render = finish(shards.mean, shards.std, CPU)
    parts = {
        name: (stepper_of(r), Batches(shards, views, r.batch, r.seed, LIMIT))
        for name, (r, views) in ways.items()
    }
    found: dict[str, dict[str, list[float]]] = {n: {"seconds": [], "loss": []} for n in ways}
    for step in range(steps):
        for name, (stepper, batches) in parts.items():
            start = time.perf_counter()
            batch = render({k: torch.as_tensor(x) for k, x in batches[step].items()})
            loss = float(stepper(batch, clock_at(step, run, len(shards)))["loss"])
            found[name]["seconds"].append(time.perf_counter() - start)
            found[name]["loss"].append(loss)
    return found


def student_run(**changes: Any) -> StudentParams:
    """The toy preset's run, as a student of the teacher."""
    values = read_yaml(ROOT / "presets/toy.yaml")["runs"]["mae"]
    left = ("decoder", "norm_pixels")
    values = {key: value for key, value in values.items() if key not in left}
    return StudentParams.model_validate({**values, "needs": TEACHER, **changes})


def main(argv: list[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=128, help="of student and teacher")
    parser.add_argument("--depth", type=int, default=4, help="of student and teacher")
    how = parser.parse_args(argv)
    torch.set_num_threads(1)
    run = student_run()
    sizes = {"embed_dim": how.width, "depth": how.depth, "num_heads": how.width // 32}
    encoder = {**run.encoder.model_dump(), **sizes}
    compute = {**run.compute.model_dump(), "micro_batch": how.batch}
    run = student_run(encoder=encoder, batch=how.batch, compute=compute, samples=10**6)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        shards = prepare(encoder, run.augment.model_dump(), 1000)
        found = compare(run, shards, how.steps)
        size = sum(p.stat().st_size for p in Path("targets").rglob("*.bin"))
        os.chdir(ROOT)
    rates = {n: how.batch / median(x["seconds"][2:]) for n, x in found.items()}
    pairs = zip(found["online"]["loss"], found["stored"]["loss"], strict=True)
    gap = max(abs(a - b) / abs(a) for a, b in pairs)
    print("| targets | images/s, one thread | ratio |\n|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.0f} | {rate / rates['online']:.2f} |")
    print(f"losses of {how.steps} steps: at most {gap:.1e} apart (relative)")
    print(f"disk: {size / 2000 / 1000:.1f} kB for each crop of an image")
    return 0


if __name__ == "__main__":
    sys.exit(main())
