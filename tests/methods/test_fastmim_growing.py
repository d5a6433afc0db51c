"""FastMIM-P: the images grow during the training, and nothing else notices."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toy import make_shards
from toy_encoders import backbone
from toy_fastmim import BLOCK, CLOCK, draw_of, images, run

from mimflow.backbones.grid import stride
from mimflow.data.augment import finish
from mimflow.data.loader import Batches, load
from mimflow.data.shards import Shards
from mimflow.methods.fastmim import assemble, build, views
from mimflow.params.fastmim import FastMIMParams
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.clock import Clock
from mimflow.train.loop import train
from mimflow.train.outcome import Interrupted
from mimflow.train.processes import Processes
from mimflow.train.record import Record
from mimflow.train.schedule import learning_rate

GROWING = [{"img_size": 32, "start": 0.0}, {"img_size": 64, "start": 0.4}]
GROWING += [{"img_size": 96, "start": 0.8}]
BIG = {
    "kind": "vit",
    "name": "vit_tiny_patch16_224",
    "img_size": 96,
    "patch_size": 16,
    "embed_dim": 24,
}
BIG |= {"depth": 2, "num_heads": 2}


@pytest.fixture
def growing() -> FastMIMParams:
    """Ten steps of 32 images: 32, 64, then 96 px."""
    return run(encoder=BIG, sizes=GROWING, samples=320, batch=32)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return make_shards(tmp_path_factory.mktemp("data"))


def batches_of(shards: Shards, params: FastMIMParams, rank: int = 0, ranks: int = 1) -> Batches:
    return Batches(shards, views(params), params.batch, params.seed, 1 << 20, rank, ranks)


@pytest.mark.parametrize("name", ["vit", "swin", "pvt"])
def test_the_same_weights_take_every_size(name: str) -> None:
    built = {"vit": {"img_size": 192}, "swin": {"img_size": 192, "window_size": 6}, "pvt": {}}
    encoder = backbone(name, **built[name])
    values = run(encoder={**BIG, "img_size": 192}, sizes=[{"img_size": 192, "start": 0.0}])
    fastmim = assemble(encoder, values.model_copy(update={"block": BLOCK[name]}))
    seen: list[int] = []
    fastmim.decoder.register_forward_hook(lambda m, i, out: seen.append(out.shape[1]))
    kept = {16: [16, 25, 36], 32: [4, 6, 9]}[fastmim.block]
    for size, visible in zip((128, 160, 192), kept, strict=True):
        losses = fastmim({"image": images(2, size)}, draw_of(), CLOCK)
        hidden = fastmim.hide(images(2, size), draw_of())[1]
        assert hidden.shape[1] == (size // fastmim.block) ** 2 - visible
        assert losses["loss"].isfinite()
    assert seen == [(size // stride(encoder)) ** 2 for size in (128, 160, 192)]


def test_views_grow_at_the_stated_shares_whatever_the_workers_and_ranks(
    growing: FastMIMParams, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIMFLOW_WORKERS", "0")
    alone = list(load(batches_of(shards, growing), 0, 10))
    assert [b["image"].shape[1] for b in alone] == [32] * 4 + [64] * 4 + [96] * 2
    monkeypatch.setenv("MIMFLOW_WORKERS", "2")
    for ours, theirs in zip(load(batches_of(shards, growing), 3, 10), alone[3:], strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    halves = [batches_of(shards, growing, rank, 2)[8] for rank in (0, 1)]
    assert all(
        np.array_equal(np.concatenate([h[k] for h in halves]), alone[8][k]) for k in alone[8]
    )


def test_sample_order_flips_and_rate_do_not_know_the_sizes(
    growing: FastMIMParams, shards: Shards
) -> None:
    last = growing.sizes[-1].model_copy(update={"start": 0.0})
    plain = growing.model_copy(update={"sizes": [last]})
    ours, theirs = batches_of(shards, growing), batches_of(shards, plain)
    for step in (0, 4, 9):
        for key in ("sample", "place", "image.flip"):
            assert np.array_equal(ours[step][key], theirs[step][key])
    peak = growing.optimiser.peak(growing.batch)  # the batch stays, so the peak does
    assert peak == growing.optimiser.base_lr * 32 / 256
    clocks = [Clock(step, 10, step * 32 / 150, 320 / 150) for step in range(10)]
    rates = [learning_rate(growing.schedule, peak, clock) for clock in clocks]
    assert rates[1:] == sorted(rates[1:], reverse=True)  # one cosine over all sizes


def trained(
    shards: Shards, run: FastMIMParams, state: str, stop: int | None = None
) -> tuple[nn.Module, list[Any]]:
    """The method and its curve; SIGTERM comes in the forward pass `stop`."""
    torch.manual_seed(run.seed)
    method, alone, calls = build(run), Processes(0, 1, 0), []

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        calls.append(inputs[0]["image"].shape[-1])
        if len(calls) == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    method.register_forward_hook(count)
    render = finish(shards.mean, shards.std, torch.device("cpu"))
    record = Record("pretrain", "toy", torch.device("cpu"), alone)
    keep = Checkpoints(Path(state))
    return method, train(method, batches_of(shards, run), render, run, keep, record, alone)


@pytest.fixture
def signals() -> Any:
    """The loop's handlers go with the test."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(n) for n in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.slow
def test_a_growing_run_that_is_stopped_ends_in_the_same_bits(
    growing: FastMIMParams,
    shards: Shards,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    signals: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CI", "1")
    monkeypatch.setenv("MIMFLOW_WORKERS", "0")
    whole, rows = trained(shards, growing, "whole")
    with pytest.raises(Interrupted, match="after step 3 of 10"):
        trained(shards, growing, "parts", stop=4)  # the first counts what a step costs
    resumed, again = trained(shards, growing, "parts")
    assert again == rows
    ours, theirs = resumed.state_dict(), whole.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
