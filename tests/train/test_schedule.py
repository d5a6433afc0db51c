"""Schedules equal the reference tables, and join where they should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mimflow.params.training import AdamW, Schedule
from mimflow.train.clock import Clock
from mimflow.train.schedule import cosine_steps, half_cosine, learning_rate, weight_decay


def schedule(**changes: Any) -> Schedule:
    values: dict[str, Any] = {
        "shape": "cosine",
        "warmup": 0.0,
        "start_lr": 0.0,
        "final_lr": 0.0,
        "milestones": [],
        "gamma": 0.1,
        "final_decay": None,
    }
    return Schedule.model_validate({**values, **changes})


def at(step: float, steps: int) -> Clock:
    return Clock(step, steps, 0.0, 1.0)  # type: ignore[arg-type]


def test_the_cosine_equals_the_reference_of_mae(golden: Any) -> None:
    rows = golden("schedules").facts["tables"]["mae_lr"]["rows"]
    assert len(rows) > 20
    peaks = {0.0: 0.0024, 1e-6: 0.001}  # the two recipes of the table: pre-training, fine-tuning
    for row in rows:
        shape = schedule(warmup=row["warmup_epochs"] / row["epochs"], final_lr=row["min_lr"])
        ours = learning_rate(shape, peaks[row["min_lr"]], at(row["epoch"], row["epochs"]))
        assert ours == pytest.approx(row["lr"], rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "first", "last", "warmup", "start"),
    [
        ("beit_lr", 0.0015, 1e-5, 21, 0.0),
        ("beit_lr_warmup_steps", 0.0015, 1e-5, 11, 1e-6),
        ("beit_weight_decay", 0.05, 0.2, 0, 0.0),
        ("ibot_lr", 0.0005, 1e-6, 21, 0.0),
        ("ibot_weight_decay", 0.04, 0.4, 0, 0.0),
        ("ibot_momentum", 0.996, 1.0, 0, 0.0),
    ],
)
def test_the_schedules_by_step_equal_the_reference_of_beit_and_ibot(
    golden: Any, name: str, first: float, last: float, warmup: int, start: float
) -> None:
    table = golden("schedules")[f"f64.{name}"].numpy()
    assert len(table) == 140
    ours = [cosine_steps(i, 140, warmup, start, first, last) for i in range(140)]
    assert np.allclose(ours, table, rtol=1e-10, atol=1e-12)
    if warmup:
        shape = schedule(shape="cosine_steps", warmup=warmup / 140, start_lr=start, final_lr=last)
        assert [learning_rate(shape, first, at(i, 140)) for i in range(140)] == ours
    else:
        shape = schedule(final_decay=last)
        whole = [weight_decay(shape, first, at(i, 140)) for i in range(140)]
        assert np.allclose(whole, table, rtol=1e-10, atol=1e-12)


def test_rate_and_momentum_equal_the_reference_of_moco_v3(golden: Any) -> None:
    for row in golden("schedules").facts["tables"]["mocov3"]["rows"]:
        now = at(row["epoch"], row["epochs"])
        shape = schedule(warmup=row["warmup_epochs"] / row["epochs"])
        assert learning_rate(shape, row["lr0"], now) == pytest.approx(row["lr"], rel=1e-10)
        momentum = half_cosine(now.fraction, row["moco_m"], 1.0)
        assert momentum == pytest.approx(row["momentum"], rel=1e-12)


def test_momentum_equals_the_reference_of_siameseim(golden: Any) -> None:
    for row in golden("schedules").facts["tables"]["siameseim_momentum"]["rows"]:
        epoch = row["epoch"] + row["step"] / row["steps_per_epoch"]
        momentum = half_cosine(epoch / row["epochs"], row["mm"], 1.0)
        assert momentum == pytest.approx(row["momentum"], rel=1e-12)


def test_steps_multiply_once_at_each_milestone() -> None:
    shape = schedule(shape="steps", milestones=[0.5, 0.75], warmup=0.1, start_lr=0.1)
    rates = [learning_rate(shape, 1.0, at(i, 20)) for i in range(20)]
    assert rates[:2] == [0.1, pytest.approx(0.55)] and set(rates[2:10]) == {1.0}
    assert rates[10:15] == [pytest.approx(0.1)] * 5 and rates[15:] == [pytest.approx(0.01)] * 5


def test_the_whole_cosine_counts_from_the_first_step_and_drops_where_the_warm_up_ends() -> None:
    shape = schedule(shape="cosine_whole", warmup=0.1, final_lr=0.01)
    rates = [learning_rate(shape, 1.0, at(i, 100)) for i in range(100)]
    assert rates[9] == pytest.approx(0.9) and rates[10] == half_cosine(0.1, 1.0, 0.01) < 1
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_rate_follows_the_batch_unless_it_is_absolute() -> None:
    values = {
        "kind": "adamw",
        "base_lr": 1.5e-4,
        "lr_batch": 256,
        "betas": [0.9, 0.95],
        "eps": 1e-8,
        "weight_decay": 0.05,
        "undecayed": [],
        "clip_norm": None,
        "clip_each": None,
    }
    assert AdamW.model_validate(values).peak(4096) == pytest.approx(2.4e-3)
    assert AdamW.model_validate({**values, "lr_batch": None}).peak(4096) == 1.5e-4
