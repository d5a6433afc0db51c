"""When this process must end: signals that say so, and the time limit of its SLURM job."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
MARGIN = 60.0  # seconds before the limit: two batches and a checkpoint
_LEFT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


_came: list[int] = []  # signals that no training has heeded yet


def listen() -> None:
    """From here on SIGTERM, SIGINT and SIGUSR1 are noted, for the next training to heed."""
    for number in SIGNALS:
        signal.signal(number, _note)


def _note(number: int, frame: FrameType | None) -> None:
    _came.append(number)


class Deadline:
    """`reason` is empty as long as there is time. Takes over the signals SIGTERM, SIGINT, SIGUSR1.

    The end of a SLURM job is asked once, by `squeue`; MIMFLOW_SECONDS gives another one.
    """

    def __init__(self) -> None:
        seconds = _seconds_left()
        self._end = None if seconds is None else time.monotonic() + seconds - _margin(seconds)
        listen()

    def heed(self) -> None:
        """The training stops: its signals are dealt with."""
        _came.clear()

    @property
    def reason(self) -> str:
        """Why to stop now, if at all."""
        if _came:
            return f"by {signal.Signals(_came[0]).name}"
        if self._end is not None and time.monotonic() > self._end:
            return "before its time limit"
        return ""


def _margin(seconds: float) -> float:
    return min(MARGIN, seconds / 4)


def _seconds_left() -> float | None:
    given = os.environ.get("MIMFLOW_SECONDS")
    if given:
        return float(given)
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return None
    try:
        command = ["squeue", "--noheader", "--jobs", job, "--format", "%L"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_time(done.stdout.strip())


def parse_time(text: str) -> float | None:
    """Seconds of SLURM's D-HH:MM:SS, HH:MM:SS or MM:SS; None for UNLIMITED and the like."""
    found = _LEFT.fullmatch(text)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
