"""TensorBoard and DVCLive see the points of the curve and change nothing."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mimflow.train.loggers import open_loggers

ROWS = [{"loss": 0.5, "rank": 3.0, "mfu": "unknown"}, {"loss": 0.25, "rank": 4.0, "mfu": "unknown"}]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")


def log() -> None:
    with open_loggers("toy") as loggers:
        for images, row in zip((32, 64), ROWS, strict=True):
            for logger in loggers:
                logger(images, row)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_has_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("MIMFLOW_LOGGERS", "tensorboard")
    log()
    events = EventAccumulator("logs/tensorboard/toy").Reload()
    assert events.Tags()["scalars"] == ["loss", "rank"]
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(32, 0.5), (64, 0.25)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dvclive_has_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMFLOW_LOGGERS", "dvclive")
    log()
    with Path("logs/dvclive/toy/plots/metrics/rank.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(int(r["step"]), float(r["rank"])) for r in rows] == [(32, 3.0), (64, 4.0)]
    assert not Path("dvc.yaml").exists()


def test_an_unknown_logger_is_refused_and_none_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MIMFLOW_LOGGERS", raising=False)
    log()
    assert not Path("logs").exists()
    monkeypatch.setenv("MIMFLOW_LOGGERS", "tensorbord")
    with pytest.raises(ValueError, match=r"'tensorbord'.*tensorboard"):
        log()
