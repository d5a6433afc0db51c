"""A training step of a method against MAE at 224 px: images a second, encoder tokens, arithmetic,
memory. MAE itself is also set against the published style (benchmarks/plain_mae.py).

Each method has its published recipe (presets/imagenet.yaml) with the encoder asked for. Each case
is a process of its own; medians of interleaved rounds. On a GPU also compiled, and the share of its
peak. From the root: python -m benchmarks.step --method fastmim --size 128
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mimflow.params.check import parse, schema_of
from mimflow.params.read import read_yaml
from mimflow.params.training import Training
from mimflow.threads import set_threads

PUBLISHED = sorted(Path("presets").glob("*imagenet.yaml"))


class Case(NamedTuple):
    """What is timed: `method` on `encoder` at `size` px; `plain`: in the published style."""

    method: str
    encoder: str
    size: int
    plain: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        style = " published style" if self.plain else " compiled" if self.compiled else ""
        return f"{self.method}{style}, {self.encoder}, {self.size} px"


def main() -> None:
    """Prints the table."""
    options = arguments()
    mae, own = Case("mae", "vit_small_patch16_224", 224), Case(*options.case)
    cases = [mae, own] if own != mae else [mae]
    if own.method == "mae":
        cases.append(own._replace(plain=True))
    if Path("/proc/driver/nvidia/version").exists():
        cases += [c._replace(compiled=True) for c in cases if not c.plain]
    if options.profile:
        profile(start(own, options).device)
        return
    spawn = multiprocessing.get_context("spawn")
    alone = {case: ProcessPoolExecutor(1, spawn) for case in cases}
    costs = {case: alone[case].submit(start, case, options).result() for case in cases}
    rounds: dict[Case, list[float]] = {case: [] for case in cases}
    for _ in range(options.rounds):
        for case in cases:
            took = alone[case].submit(seconds, options.steps).result()
            rounds[case].append(options.batch / took)
    rates = {case: statistics.median(found) for case, found in rounds.items()}
    held = {case: alone[case].submit(memory).result() for case in cases}
    table(costs, rates, held, options)


def arguments() -> argparse.Namespace:
    """With `case`, the one asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="mae")
    parser.add_argument("--encoder", default="vit_small_patch16_224", help="a name of timm")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", choices=["bf16", "fp16", "fp32"], default="bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="of a round")
    parser.add_argument("--profile", action="store_true", help="torch.profiler's top operations")
    options = parser.parse_args()
    options.case = options.method, options.encoder, options.size
    return options


class Cost(NamedTuple):
    """Of an image: operations, forward and backward; tokens that the encoder sees. `device`: what
    counted them, by name.
    """

    flops: float
    tokens: float
    device: str


class Step(NamedTuple):
    """What this process takes again and again."""

    run: Callable[[], Any]
    cost: tuple[float, float]


STEP: list[Step] = []  # of this process
BEFORE: list[float] = []  # MiB that its libraries took


def start(case: Case, options: argparse.Namespace) -> Cost:
    """Builds the step in this process and takes two."""
    set_threads(options.threads)
    import torch

    from mimflow.encoder import device

    importlib.import_module(f"mimflow.methods.{case.method}")  # the libraries take memory too
    BEFORE.append(peak_memory())
    STEP.append(build(case, options))
    seconds(2)
    cuda = device().type == "cuda"
    return Cost(*STEP[0].cost, torch.cuda.get_device_name() if cuda else "CPU")


def build(case: Case, options: argparse.Namespace) -> Step:
    """The step of a case on this machine's device."""
    import torch

    from mimflow.backbones.vit import fuse_attention
    from mimflow.encoder import device
    from mimflow.train.clock import Clock
    from mimflow.train.flops import cost_of
    from mimflow.train.optim import build_optimiser, parameter_groups
    from mimflow.train.parallel import prepare, spread
    from mimflow.train.scale import LossScale
    from mimflow.train.step import Stepper

    run = recipe(case, options)
    if not case.plain:
        prepare(run.compute)
    torch.manual_seed(0)
    images = torch.randn(run.batch, 3, case.size, case.size, device=device())
    batch = {"image": images, "place": torch.arange(run.batch, device=device())}
    if case.plain:
        return plain(run, images)
    method = importlib.import_module(f"mimflow.methods.{case.method}").build(run).to(device())
    fuse_attention(method, device(), backward=True)
    cost = cost_of(method, batch, 0)
    model = spread(method, run.compute, device())
    decay = run.optimiser.weight_decay
    groups = parameter_groups(method.named_parameters(), decay, run.optimiser.undecayed)
    scale = LossScale(run.compute.precision == "fp16", device())
    optimiser = build_optimiser(groups, run.optimiser)
    stepper = Stepper(method, model, optimiser, run, run.batch, scale)
    return Step(lambda: stepper(batch, Clock(1, 10, 0.1, 1.0)), cost)


def plain(run: Any, images: Any) -> Step:
    """MAE in the published style; the optimiser takes one tensor after another."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks import plain_mae
    from mimflow.train.step import PRECISION

    own = run.decoder
    sizes = own.width, own.depth, own.num_heads
    method = plain_mae.PlainMAE(run.encoder.name, run.encoder.timm(), *sizes).to(images.device)
    trained = [p for p in method.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4, foreach=False, fused=False)
    dtype = PRECISION[run.compute.precision]
    with FlopCounterMode(display=False) as counter:
        method(images[:2]).backward()
    tokens = 1 + method.encoder.patch_embed.num_patches // 4
    taken = partial(plain_mae.step, method, optimiser, images, dtype)
    return Step(taken, (counter.get_total_flops() / 2, tokens))


def recipe(case: Case, options: argparse.Namespace) -> Training:
    """The published run of a method on a backbone of the kind asked for, with its sizes changed."""
    net = case.encoder.startswith(("swin", "pvt", "convnext"))
    found = [
        values
        for file in PUBLISHED
        for values in read_yaml(file)["runs"].values()
        if values["method"] == case.method and (values["encoder"]["kind"] == "grid") == net
    ]
    if not found:
        raise SystemExit(f"{case.method}: no published run on such an encoder in presets/")
    values = found[0]
    published = values["encoder"]
    values["encoder"] = {**published, **facts(case, net)}
    if published["name"].startswith("beit") and case.encoder.startswith("vit"):
        values["encoder"]["name"] = published["name"]  # BEiT's blocks, at the size asked for
    precision, micro = options.precision, options.batch
    values["compute"] |= {"precision": precision, "micro_batch": micro, "compile": case.compiled}
    values["compute"]["threads"] = options.threads
    values |= {"batch": options.batch, "samples": 10 * options.batch}
    if "sizes" in values:
        values["sizes"] = [{"img_size": case.size, "start": 0.0}]
    run = parse(schema_of(case.method), values, case.method)
    assert isinstance(run, Training)
    return run


def facts(case: Case, net: bool) -> dict[str, Any]:
    """What the encoder of a run says of a model of timm."""
    if net:
        swin = {"window_size": case.size // 32, "drop_path_rate": 0.0}
        kwargs = swin if case.encoder.startswith("swin") else {}
        return {"name": case.encoder, "img_size": case.size, "kwargs": kwargs}
    import timm
    import torch

    with torch.device("meta"):
        vit: Any = timm.create_model(case.encoder, num_classes=0)
    sizes = {"embed_dim": vit.embed_dim, "depth": len(vit.blocks), "img_size": case.size}
    heads, patch = vit.blocks[0].attn.num_heads, vit.patch_embed.patch_size[0]
    return {"name": case.encoder, "num_heads": heads, "patch_size": patch, **sizes}


def seconds(count: int) -> float:
    """Of a step of this process, the mean of `count`."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    begin = time.perf_counter()
    for _ in range(count):
        STEP[0].run()
    wait()
    return (time.perf_counter() - begin) / count


def memory() -> float:
    """MiB that the steps of this process took at most, beyond its libraries."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_memory() - BEFORE[0]


def peak_memory() -> float:
    """MiB that this process has held at most; getrusage would count what its parent held."""
    [line] = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
    return int(line.split()[1]) / 1024


def table(
    costs: dict[Case, Cost],
    rates: dict[Case, float],
    held: dict[Case, float],
    options: argparse.Namespace,
) -> None:
    """Prints a line for each case, relative to the first."""
    from mimflow.train.flops import peak_of

    first, name = next(iter(costs)), next(iter(costs.values())).device
    most = peak_of(name) if name != "CPU" else None
    where = f"{options.precision}, batch {options.batch}, {name}, {options.threads} threads"
    print(f"| {where} | images/s | ratio | encoder tokens | GFLOP/image | ratio | MiB | MFU |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for case, cost in costs.items():
        rate = rates[case]
        mfu = f"{rate * cost.flops / most:.0%}" if most else ""
        print(
            f"| {case} | {rate:,.1f} | {rate / rates[first]:.2f} | {cost.tokens:,.0f}"
            f" | {cost.flops / 1e9:,.1f} | {cost.flops / costs[first].flops:.2f}"
            f" | {held[case]:,.0f} | {mfu} |"
        )


def profile(device: str) -> None:
    """Prints the operations that take longest in three steps of this process."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recorded

    kind = "cpu" if device == "CPU" else "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if kind == "cuda" else [])]
    with recorded(activities=activities) as found:
        seconds(3)
    order = f"self_{kind}_time_total"
    print(found.key_averages().table(sort_by=order, row_limit=25, max_name_column_width=48))


if __name__ == "__main__":
    main()
