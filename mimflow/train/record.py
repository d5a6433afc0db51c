"""What a training tells: one live line on a terminal, plain lines in a log, JSON lines in logs/,
cost in costs/.

Nothing here reaches a declared output. Of several processes the first tells.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mimflow.files import canonical, write
from mimflow.ranks import Processes
from mimflow.train.collapse import Watch
from mimflow.train.flops import Cost, peak_of
from mimflow.train.loggers import open_loggers
from mimflow.train.outcome import Diverged, Interrupted, Superseded

T = TypeVar("T")
EVERY = 10.0  # seconds between plain lines
WARM = 10.0  # seconds after which a rate is worth an estimate


class Record:
    """The record of the run `name` of `stage`. Use `over` around the steps."""

    def __init__(self, stage: str, name: str, device: torch.device, processes: Processes):
        self.stage, self.name, self.device, self.processes = stage, name, device, processes
        self.tells = processes.rank == 0
        self.cost = Cost(0.0, 0.0)
        self.total = self.first = self.done = self.mark = 0
        self.started = self.said = self.saved = time.monotonic()
        self.wait, self.loss, self.estimated = 0.0, float("nan"), False
        self.watch = Watch()
        # How often a checkpoint is due is a fact of the machine.
        self.every = float(os.environ.get("MIMFLOW_CHECKPOINT_SECONDS", 60))

    @contextmanager
    def over(self, total: int, first: int) -> Iterator[None]:
        """The run of `total` images, `first` of them done before this process."""
        self.total, self.first, self.done, self.mark = total, first, first, first
        self.started = self.said = self.saved = time.monotonic()
        path = Path("logs") / self.stage / f"{self.name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.live = self._live() if self.tells and sys.stderr.isatty() else None
        with path.open("a", buffering=1) as self.log, ExitStack() as stack:
            self.loggers = stack.enter_context(open_loggers(self.name)) if self.tells else []
            self.event("resume" if first else "start", images=first, of=total)
            if first:
                self._say(f"{self.name}: resumed after {first:,} of {total:,} images")
            try:
                if self.live:
                    self.live.start()
                yield
            except (Diverged, Interrupted, Superseded) as error:
                self.event("stop", images=self.done, why=str(error))
                raise
            finally:
                if self.live:
                    self.live.stop()

    def event(self, what: str, **values: float | str | None) -> None:
        """One line of JSON."""
        where = {"stage": self.stage, "name": self.name, "event": what}
        if self.tells:
            self.log.write(json.dumps({"time": round(time.time(), 3), **where, **values}) + "\n")

    def waiting(self, batches: Iterator[T], start: int) -> Iterator[tuple[int, T]]:
        """Steps from `start` on and their batches; the time spent waiting for them is counted."""
        for step in itertools.count(start):
            begin = time.monotonic()
            batch = next(batches, None)
            self.wait += time.monotonic() - begin
            if batch is None:
                return
            yield step, batch

    def step(self, done: int, row: dict[str, float] | None) -> None:
        """After a step: `done` images in all, and the point of the curve if there is one."""
        self.done = done
        if row is not None:
            self.loss = row["loss"]
            self.event("row", **row, **self.machine())
            for warning in self.watch(row):
                self.event("warning", images=done, why=warning)
                self._say(f"{self.name}: {warning}")
            for logger in self.loggers:
                logger(done, {**row, **self.machine()})
        if self.live:
            self.live.update(self.task, completed=done, text=self._text())
        elif row is not None and time.monotonic() - self.said > EVERY and not os.environ.get("CI"):
            rate = (done - self.mark) / (time.monotonic() - self.said)  # since the last line
            count = f"{done:,} of {self.total:,} images"
            left = (self.total - done) / rate
            self._say(f"{self.name}: {count}  {self._text()}  {left:,.0f} s left")
        if not self.estimated and self.seconds > WARM:
            self._estimate()

    def _estimate(self) -> None:
        """The whole run's duration and price, once the rate is known."""
        self.estimated = True
        seconds = self.total / self.rate
        hours = seconds / 3600 * self.processes.count
        unit = "GPU-hours" if self.device.type == "cuda" else "process-hours"
        self.event("estimate", seconds=round(seconds), hours=round(hours, 3))
        if not os.environ.get("CI"):
            self._say(f"{self.name}: about {seconds:,.0f} s in all, {hours:,.2f} {unit}")

    def machine(self) -> dict[str, float | str | None]:
        """Facts of this machine: rates a second, share of the time waited for data, memory."""
        peak = peak_of(self.device_name)
        flops = self.rate * self.cost.flops
        return {
            "images_per_second": round(self.rate, 2),
            "tokens_per_second": round(self.rate * self.cost.tokens),
            "data_wait": round(self.wait / self.seconds, 4),
            "memory_mb": round(_memory(self.device) / 2**20),
            "tflops": round(flops / 1e12, 4),
            "mfu": round(flops / peak / self.processes.count, 4) if peak else "unknown",
        }

    def checkpoint_due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self.saved > self.every

    def checkpoint(self, done: int) -> None:
        """After a save."""
        self.saved = time.monotonic()
        self.event("checkpoint", images=done)

    def end(self) -> None:
        """Writes what the run cost in this process."""
        cost = {
            "images": self.done - self.first,
            "seconds": self.seconds,
            "device": self.device_name,
            "processes": self.processes.count,
            "gflop_per_image": self.cost.flops / 1e9,
            **self.machine(),
        }
        self.event("end", **cost)
        if self.tells:
            write(Path("costs") / self.stage / f"{self.name}.json", canonical(cost))
        self._say(
            f"{self.name}: {self.done:,} images in {self.seconds:,.0f} s, {self.rate:,.0f} images/s"
        )

    @property
    def device_name(self) -> str:
        """As its maker calls it."""
        cuda = self.device.type == "cuda"
        return torch.cuda.get_device_name(self.device) if cuda else "cpu"

    @property
    def seconds(self) -> float:
        """Since the start of this process's part."""
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def rate(self) -> float:
        """Images a second, of all processes."""
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
        if self.tells:
            print(text, file=sys.stderr, flush=True)


def _memory(device: torch.device) -> float:
    """Bytes at the peak: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
