"""Schedules equal the reference tables."""

from __future__ import annotations

from typing import Any

import pytest

from mimflow.train.schedule import scaled_rate, warmup_cosine


def test_the_learning_rate_equals_the_reference(golden: Any) -> None:
    rows = golden("schedules").facts["tables"]["mae_lr"]["rows"]
    assert len(rows) > 20
    peaks = {0.0: 0.0024, 1e-6: 0.001}  # the two recipes of the table: pre-training, fine-tuning
    for row in rows:
        ours = warmup_cosine(
            row["epoch"],
            row["epochs"],
            row["warmup_epochs"],
            peaks.get(row["min_lr"], -1),
            row["min_lr"],
        )
        assert ours == pytest.approx(row["lr"], rel=1e-10, abs=1e-12)


def test_the_rate_follows_the_batch() -> None:
    assert scaled_rate(1.5e-4, 4096) == pytest.approx(2.4e-3)
