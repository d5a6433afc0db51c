"""The loop: a run that is stopped and resumed ends in the same bits; what goes wrong is said."""

from __future__ import annotations

import copy
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy import make_shards, toy_batches, toy_method, toy_run

from mimflow.data.augment import finish
from mimflow.data.shards import Shards
from mimflow.params.mae import MAEParams
from mimflow.ranks import Processes
from mimflow.train import progress
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.loop import train
from mimflow.train.outcome import Diverged, Interrupted
from mimflow.train.progress import Row, write_curve
from mimflow.train.record import Record

RUN = toy_run()  # 20 steps


@pytest.fixture(autouse=True)
def signals() -> Any:
    """The loop's handlers go with the test."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(n) for n in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return make_shards(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CI", "1")


ALONE = Processes(0, 1, 0)


def trained(
    shards: Shards,
    state: str,
    run: MAEParams = RUN,
    method: nn.Module | None = None,
    processes: Processes = ALONE,
) -> tuple[nn.Module, list[Row]]:
    method = method or toy_method(run)
    render = finish(shards.mean, shards.std, torch.device("cpu"))
    keep = Checkpoints(Path(state))
    record = Record("pretrain", "toy", torch.device("cpu"), processes)
    return method, train(method, toy_batches(shards, run), render, run, keep, record, processes)


class Alarm(nn.Module):
    """The method, which raises a signal or an error in its n-th forward pass."""

    def __init__(self, method: nn.Module, when: int, act: Any):
        super().__init__()
        self.method, self.when, self.act = method, when, act
        self.encoder = method.encoder

    def __deepcopy__(self, memo: Any) -> nn.Module:
        return copy.deepcopy(self.method)  # what a step costs is counted on a copy

    def forward(self, *arguments: Any) -> Any:
        self.when -= 1
        losses = self.method(*arguments)
        return self.act(losses) if self.when == 0 else losses

    def state_dict(self, *arguments: Any, **names: Any) -> Any:
        return self.method.state_dict(*arguments, **names)

    def load_state_dict(self, state: Any, *arguments: Any, **names: Any) -> Any:
        return self.method.load_state_dict(state, *arguments, **names)


class Always(Alarm):
    """The method, whose losses are changed in every step."""

    def __init__(self, method: nn.Module, act: Any):
        super().__init__(method, 0, act)

    def forward(self, *arguments: Any) -> Any:
        return self.act(self.method(*arguments))


def same(ours: nn.Module, theirs: nn.Module) -> bool:
    one, two = ours.state_dict(), theirs.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_stops_and_the_resumed_run_ends_in_the_same_bits(
    shards: Shards, number: int
) -> None:
    whole, rows = trained(shards, "whole")

    def stop(losses: Any) -> Any:
        os.kill(os.getpid(), number)
        return losses

    with pytest.raises(Interrupted, match="after step 7 of 20"):
        trained(shards, "parts", method=Alarm(toy_method(RUN), 7, stop))
    assert '"event": "stop"' in Path("logs/pretrain/toy.jsonl").read_text().splitlines()[-1]
    resumed, again = trained(shards, "parts")
    assert same(resumed, whole) and again == rows


def test_a_crash_after_a_checkpoint_loses_nothing_but_time(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, rows = trained(shards, "whole")
    monkeypatch.setenv("MIMFLOW_CHECKPOINT_SECONDS", "0")

    def crash(losses: Any) -> Any:
        raise KeyError("power")

    with pytest.raises(KeyError):
        trained(shards, "parts", method=Alarm(toy_method(RUN), 12, crash))
    for thread in threading.enumerate():
        if thread.name == "checkpoint":
            thread.join()
    assert sorted(p.name for p in Path("parts").glob("*.pt")) == [
        "000000000010.pt",
        "000000000011.pt",
    ]
    resumed, again = trained(shards, "parts")
    assert same(resumed, whole) and again == rows


def test_the_loss_curve_is_the_mean_of_the_steps_between_its_points(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, fine = trained(shards, "fine")
    monkeypatch.setattr(progress, "POINTS", 5)
    _, coarse = trained(shards, "coarse")
    assert len(fine) == 20 and len(coarse) == 5
    mean = sum(row["loss"] for row in fine[4:8]) / 4
    assert coarse[1]["loss"] == pytest.approx(mean, rel=1e-12)
    assert [row["samples"] for row in coarse] == [128, 256, 384, 512, 640]
    assert fine[-1]["loss"] < fine[0]["loss"]


def poisoned(shards: Shards, run: MAEParams, state: str) -> tuple[nn.Module, list[Row], int]:
    """A training in which one pixel of an image of step 4 is NaN."""
    method, batches = toy_method(run), toy_batches(shards, run)
    finished = finish(shards.mean, shards.std, torch.device("cpu"))
    victim = int(batches[4]["sample"][5])

    def render(batch: dict[str, Any]) -> dict[str, Any]:
        poison = torch.equal(batch["sample"], torch.as_tensor(batches[4]["sample"]))
        out = finished(batch)
        if poison:
            out["image"][5] = float("nan")
        return out

    keep, alone = Checkpoints(Path(state)), Processes(0, 1, 0)
    record = Record("pretrain", "toy", torch.device("cpu"), alone)
    return method, train(method, batches, render, run, keep, record, alone), victim


def test_a_nan_in_one_image_stops_the_run_and_names_the_step_and_its_samples(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIMFLOW_CHECKPOINT_SECONDS", "0")
    with pytest.raises(Diverged, match=r"^step 4: loss or gradient is not finite") as stopped:
        poisoned(shards, RUN, "state")
    named = str(stopped.value).split("samples: ")[1].split(";")[0].split()
    assert named == [str(i) for i in toy_batches(shards, RUN)[4]["sample"]]
    good = Checkpoints(Path("state")).latest()
    assert good is not None and good["step"] == 4
    assert all(x.isfinite().all() for x in good["method"].values())


def test_a_nan_may_be_left_out_and_counted(
    shards: Shards, capsys: pytest.CaptureFixture[str]
) -> None:
    method, rows, victim = poisoned(shards, toy_run(skip_non_finite=1), "state")
    assert all(x.isfinite().all() for x in method.state_dict().values())
    assert len(rows) == 20 and rows[4]["loss"] == 0 and rows[5]["loss"] > 0
    said = capsys.readouterr().out
    assert said.startswith("step 4: not finite, left out") and f" {victim} " in said


def test_a_step_that_is_left_out_changes_nothing(shards: Shards) -> None:
    run = toy_run(skip_non_finite=20)

    def spoil(losses: Any) -> Any:
        return {**losses, "loss": losses["loss"] * float("nan")}

    start = toy_method(run)
    method, _ = trained(shards, "state", run, Always(toy_method(run), spoil))
    assert same(method.method, start)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "changes", "expected"),
    [
        (3, {}, "batch 32 does not divide by 3 processes"),
        (
            2,
            {"batch": 96, "samples": 960, "compute": {"micro_batch": 32}},
            "batch 96 on 2 processes is 48 images each, no multiple of compute.micro_batch 32",
        ),
    ],
)
@pytest.mark.parametrize("resumed", [False, True])
def test_a_batch_that_does_not_divide_is_refused_also_on_resume(
    shards: Shards, count: int, changes: dict[str, Any], expected: str, resumed: bool
) -> None:
    run = toy_run(**changes)

    def stop(losses: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return losses

    if resumed:
        with pytest.raises(Interrupted, match="run it again"):
            trained(shards, "state", run, Alarm(toy_method(run), 2, stop))
    files = sorted(Path("state").glob("*.pt"))
    assert len(files) == resumed
    with pytest.raises(ValueError, match=expected):
        trained(shards, "state", run, processes=Processes(0, count, 0))
    assert sorted(Path("state").glob("*.pt")) == files


def test_a_run_of_another_seed_is_another_run(shards: Shards) -> None:
    one, _ = trained(shards, "one")
    two, _ = trained(shards, "two", toy_run(seed=1))
    assert not same(one, two)


def test_the_curve_is_written_exactly(tmp_path: Path) -> None:
    rows: list[Row] = [{"samples": 32, "loss": 0.1}, {"samples": 64, "loss": 1 / 3}]
    write_curve(tmp_path / "c.csv", rows)
    text = (tmp_path / "c.csv").read_text()
    assert text == "samples,loss\n32,0.1\n64,0.3333333333333333\n"


def test_the_record_goes_to_logs_and_costs_only(shards: Shards) -> None:
    trained(shards, "state")
    assert {p.parts[0] for p in Path().rglob("*") if p.is_file()} == {"logs", "costs", "state"}
    lines = Path("logs/pretrain/toy.jsonl").read_text().splitlines()
    assert lines[0].count('"event": "start"') == 1 and '"event": "end"' in lines[-1]
