"""What a training tells: one live line on a terminal, plain lines in a log, JSON lines in logs/,
cost in costs/.

Nothing here reaches a declared output.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mimflow.files import canonical, write

T = TypeVar("T")
EVERY = 10.0  # seconds between plain lines


class Record:
    """The record of one run of `total` images, `first` of them done before this process. Use it in
    a `with`.
    """

    def __init__(self, stage: str, name: str, total: int, first: int):
        self.stage, self.name, self.total, self.first, self.done = stage, name, total, first, first
        self.started = self.said = self.saved = time.monotonic()
        self.wait, self.loss, self.mark = 0.0, float("nan"), first
        self.every = float(
            os.environ.get("MIMFLOW_CHECKPOINT_SECONDS", 60)
        )  # a fact of the machine
        path = Path("logs") / stage / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.log = path.open("a", buffering=1)
        self.live = self._live() if sys.stderr.isatty() else None

    def __enter__(self) -> Record:
        self.event("resume" if self.first else "start", images=self.first, of=self.total)
        if self.live:
            self.live.start()
        if self.first:
            self._say(f"{self.name}: resumed after {self.first:,} of {self.total:,} images")
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.stop()
        self.log.close()

    def event(self, what: str, **values: float | str) -> None:
        """One line of JSON."""
        line = {
            "time": round(time.time(), 3),
            "stage": self.stage,
            "name": self.name,
            "event": what,
            **values,
        }
        self.log.write(json.dumps(line) + "\n")

    def waiting(self, batches: Iterator[T], start: int) -> Iterator[tuple[int, T]]:
        """Steps from `start` on and their batches; the time spent waiting for them is counted."""
        for step in itertools.count(start):
            begin = time.monotonic()
            batch = next(batches, None)
            self.wait += time.monotonic() - begin
            if batch is None:
                return
            yield step, batch

    def step(self, done: int, loss: float | None) -> None:
        """After a step: `done` images in all, and the loss where it is known."""
        self.done = done
        if loss is not None:
            self.loss = loss
            self.event(
                "loss", images=done, loss=loss, rate=self.rate, data_wait=self.wait / self.seconds
            )
        if self.live:
            self.live.update(self.task, completed=done, text=self._text())
        elif loss is not None and time.monotonic() - self.said > EVERY and not os.environ.get("CI"):
            rate = (done - self.mark) / (time.monotonic() - self.said)  # since the last line
            left = (self.total - done) / rate
            count = f"{done:,} of {self.total:,} images"
            self._say(f"{self.name}: {count}  {self._text()}  {left:,.0f} s left")

    def checkpoint_due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self.saved > self.every

    def checkpoint(self, done: int) -> None:
        """After a save."""
        self.saved = time.monotonic()
        self.event("checkpoint", images=done)

    def end(self, device: torch.device) -> None:
        """Writes what the run cost in this process."""
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        cost: dict[str, float | str] = {
            "images": self.done - self.first,
            "seconds": self.seconds,
            "rate": self.rate,
            "device": name,
        }
        write(Path("costs") / self.stage / f"{self.name}.json", canonical(cost))
        self.event("end", **cost)
        self._say(
            f"{self.name}: {self.done:,} images in {self.seconds:,.0f} s, {self.rate:,.0f} images/s"
        )

    @property
    def seconds(self) -> float:
        """Since the start of this process's part."""
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def rate(self) -> float:
        """Images a second."""
        return max(self.done - self.first, 1) / self.seconds

    def _text(self) -> str:
        wait = self.wait / self.seconds
        return f"loss {self.loss:.4f}  {self.rate:,.0f} images/s  data wait {wait:.0%}"

    def _live(self) -> Progress:
        parts = (
            BarColumn(),
            TextColumn("{task.percentage:.0f}%  {task.fields[text]}"),
            TimeRemainingColumn(),
        )
        live = Progress(TextColumn("{task.description}"), *parts, console=Console(stderr=True))
        self.task = live.add_task(self.name, total=self.total, completed=self.first, text="")
        return live

    def _say(self, text: str) -> None:
        self.said, self.mark = time.monotonic(), self.done
        print(text, file=sys.stderr, flush=True)
