"""The end of a job is known before it comes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from mimflow.train.deadline import SIGNALS, Deadline, parse_time


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = [signal.getsignal(n) for n in SIGNALS]
    yield
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
    deadline = Deadline()
    assert deadline.reason == ""
    os.kill(os.getpid(), signal.SIGUSR1)
    assert deadline.reason == "by SIGUSR1"


def test_a_time_limit_is_a_reason_before_it_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMFLOW_SECONDS", "3600")
    assert Deadline().reason == ""
    monkeypatch.setenv("MIMFLOW_SECONDS", "0")
    assert Deadline().reason == "before its time limit"
