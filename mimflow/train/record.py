"""What a training tells: one live line on a terminal, plain lines in a log, JSON lines in logs/, cost in costs/.

Nothing here reaches a declared output.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mimflow.files import canonical, write

EVERY = 10.0  # seconds between plain lines


class Record:
    """The record of one run of `total` images; `done` of them at the start."""

    def __init__(self, stage: str, name: str, total: int, done: int):
        self.stage, self.name, self.total, self.first, self.done = stage, name, total, done, done
        self.started = self.said = time.monotonic()
        path = Path("logs") / stage / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.log = path.open("a", buffering=1)
        self.live = self._live() if sys.stderr.isatty() else None
        self.event("start" if not done else "resume", images=done, of=total)
        if done:
            self._say(f"{name}: resumed after {done:,} of {total:,} images")

    def event(self, what: str, **values: float | str) -> None:
        """One line of JSON."""
        line = {"time": round(time.time(), 3), "stage": self.stage, "name": self.name, "event": what, **values}
        self.log.write(json.dumps(line) + "\n")

    def step(self, done: int, wait: float, loss: float | None = None) -> None:
        """After a step: `done` images in all, `wait` seconds spent waiting for data since the start."""
        self.done = done
        if loss is not None:
            self.event("loss", images=done, loss=loss, rate=self.rate, data_wait=wait / self.seconds)
            self.loss = loss
        if self.live:
            text = f"loss {getattr(self, 'loss', float('nan')):.4f}  {self.rate:,.0f} images/s  data wait {wait / self.seconds:.0%}"
            self.live.update(self.task, completed=done, text=text)
        elif loss is not None and time.monotonic() - self.said > EVERY and not os.environ.get("CI"):
            left = (self.total - done) / self.rate
            self._say(
                f"{self.name}: {done:,} of {self.total:,} images  loss {loss:.4f}  {self.rate:,.0f} images/s  "
                f"data wait {wait / self.seconds:.0%}  {left:,.0f} s left"
            )

    def end(self, device: str) -> None:
        """Closes the line and writes what the run cost in this process."""
        cost = {"images": self.done - self.first, "seconds": self.seconds, "rate": self.rate, "device": device}
        write(Path("costs") / self.stage / f"{self.name}.json", canonical(cost))
        self.event("end", **cost)
        if self.live:
            self.live.stop()
        else:
            self._say(f"{self.name}: {self.done:,} images in {self.seconds:,.0f} s, {self.rate:,.0f} images/s")

    @property
    def seconds(self) -> float:
        """Since the start of this process's part."""
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def rate(self) -> float:
        """Images a second."""
        return max(self.done - self.first, 1) / self.seconds

    def _live(self) -> Progress:
        live = Progress("{task.description}", BarColumn(), "{task.percentage:.0f}%", TextColumn("{task.fields[text]}"), TimeRemainingColumn())
        self.task = live.add_task(self.name, total=self.total, completed=self.first, text="")
        live.start()
        return live

    def _say(self, text: str) -> None:
        self.said = time.monotonic()
        print(text, file=sys.stderr, flush=True)
