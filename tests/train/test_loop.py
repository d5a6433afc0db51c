"""The loop: a run that is stopped and resumed ends in the same bits; what goes wrong is said."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy import make_shards, toy_batches, toy_method, toy_run

from mimflow.data.augment import finish
from mimflow.data.shards import Shards
from mimflow.params.mae import MAEParams
from mimflow.train import loop
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.loop import Row, train, write_curve
from mimflow.train.optim import build_optimiser
from mimflow.train.outcome import Diverged, Interrupted

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


def trained(
    shards: Shards, state: str, run: MAEParams = RUN, method: nn.Module | None = None
) -> tuple[nn.Module, list[Row]]:
    method = method or toy_method(run)
    render = finish(shards.mean, shards.std, torch.device("cpu"))
    rows = train(method, toy_batches(shards, run), render, run, Checkpoints(Path(state)), "toy")
    return method, rows


class Alarm(nn.Module):
    """The method, which raises a signal or an error in its n-th forward pass."""

    def __init__(self, method: nn.Module, when: int, act: Any):
        super().__init__()
        self.method, self.when, self.act = method, when, act

    def forward(self, *arguments: Any) -> Any:
        self.when -= 1
        losses = self.method(*arguments)
        return self.act(losses) if self.when == 0 else losses

    def state_dict(self, *arguments: Any, **names: Any) -> Any:
        return self.method.state_dict(*arguments, **names)

    def load_state_dict(self, state: Any, *arguments: Any, **names: Any) -> Any:
        return self.method.load_state_dict(state, *arguments, **names)


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
    monkeypatch.setattr(loop, "POINTS", 5)
    _, coarse = trained(shards, "coarse")
    assert len(fine) == 20 and len(coarse) == 5
    assert coarse[1][1] == pytest.approx(sum(row[1] for row in fine[4:8]) / 4, rel=1e-12)
    assert [row[0] for row in coarse] == [128, 256, 384, 512, 640]
    assert fine[-1][1] < fine[0][1]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(shards: Shards) -> None:
    def explode(losses: Any) -> Any:
        return {"loss": losses["loss"] * float("nan")}

    with pytest.raises(Diverged, match=r"the loss is nan within steps 4 to 4"):
        trained(shards, "state", method=Alarm(toy_method(RUN), 5, explode))


def test_a_run_of_another_seed_is_another_run(shards: Shards) -> None:
    one, _ = trained(shards, "one")
    two, _ = trained(shards, "two", toy_run(seed=1))
    assert not same(one, two)


def test_weights_are_decayed_and_norms_and_biases_are_not() -> None:
    method = toy_method(RUN)
    decayed, kept = build_optimiser(method, RUN.optimiser).param_groups
    names = {id(p): name for name, p in method.named_parameters()}
    assert decayed["weight_decay"] == 0.05 and kept["weight_decay"] == 0
    assert {names[id(p)] for p in kept["params"]} == {
        n
        for n, p in method.named_parameters()
        if p.requires_grad and (n.endswith("bias") or "norm" in n)
    }
    assert {"encoder.cls_token", "decoder.mask_token"} <= {names[id(p)] for p in decayed["params"]}
    assert "encoder.pos_embed" not in {names[id(p)] for p in [*decayed["params"], *kept["params"]]}


def test_the_curve_is_written_exactly(tmp_path: Path) -> None:
    write_curve(tmp_path / "c.csv", [(32, 0.1, 1e-3), (64, 1 / 3, 2e-3)])
    assert (
        tmp_path / "c.csv"
    ).read_text() == "samples,loss,learning_rate\n32,0.1,0.001\n64,0.3333333333333333,0.002\n"


def test_the_record_goes_to_logs_and_costs_only(shards: Shards) -> None:
    trained(shards, "state")
    assert {p.parts[0] for p in Path().rglob("*") if p.is_file()} == {"logs", "costs", "state"}
    lines = Path("logs/pretrain/toy.jsonl").read_text().splitlines()
    assert lines[0].count('"event": "start"') == 1 and '"event": "end"' in lines[-1]
