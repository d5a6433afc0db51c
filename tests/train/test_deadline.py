"""The end of a job is known before it comes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from mimflow.train import deadline
from mimflow.train.deadline import SIGNALS, Deadline, listen, parse_time


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = [signal.getsignal(n) for n in SIGNALS]
    yield
    deadline._came.clear()
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1-02:03:04", 93784),
        ("2:03:04", 7384),
        ("03:04", 184),
        ("0:00", 0),
        ("UNLIMITED", None),
        ("NOT_SET", None),
        ("", None),
    ],
)
def test_slurms_times_are_read(text: str, seconds: float | None) -> None:
    assert parse_time(text) == seconds


def test_a_signal_is_a_reason_to_stop() -> None:
    now = Deadline()
    assert now.reason == ""
    os.kill(os.getpid(), signal.SIGUSR1)
    assert now.reason == "by SIGUSR1"
    now.heed()
    assert now.reason == ""


def test_a_signal_before_a_training_is_heeded_by_it() -> None:
    listen()
    os.kill(os.getpid(), signal.SIGTERM)
    assert Deadline().reason == "by SIGTERM"
    assert Deadline().reason == "by SIGTERM"  # and by the next, where nothing stopped in between


def test_a_time_limit_is_a_reason_before_it_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMFLOW_SECONDS", "3600")
    assert Deadline().reason == ""
    monkeypatch.setenv("MIMFLOW_SECONDS", "0")
    assert Deadline().reason == "before its time limit"
