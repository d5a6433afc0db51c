"""The one training loop. It knows batches, a method that gives a loss, an optimiser and a clock; never which method.

The state after a step is a function of the state before it and of the step's number, so that a run that was killed
and resumed ends in the same bits as one that was not.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from mimflow.data.loader import Batches, load
from mimflow.draw import Draw
from mimflow.files import write
from mimflow.params.fields import Training
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.clock import Clock
from mimflow.train.outcome import Diverged, Interrupted
from mimflow.train.optim import build_optimiser
from mimflow.train.record import Record
from mimflow.train.schedule import scaled_rate, warmup_cosine

POINTS = 200  # of the loss curve, at most
Row = tuple[int, float, float]  # images seen, mean loss since the row before, learning rate
Render = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def clock_at(step: int, run: Training, count: int) -> Clock:
    """The clock of `step` for a data set of `count` images."""
    per_epoch = count / run.batch
    return Clock(step, run.steps, step / per_epoch, run.steps / per_epoch)


def train(
    method: nn.Module, batches: Batches, render: Render, run: Training, keep: Checkpoints, name: str
) -> list[Row]:
    """Trains `method` in place for `run.steps` steps, from `keep`'s newest state on; returns the loss curve.

    Raises Diverged when the loss is not finite, Interrupted (state saved) on SIGTERM, SIGINT or SIGUSR1.
    """
    device = next(method.parameters()).device
    optimiser = build_optimiser(method, run.optimiser)
    state = _resume(method, optimiser, keep, device)
    record = Record("pretrain", name, run.steps * run.batch, state["step"] * run.batch)
    every = max(1, run.steps // POINTS)
    seconds = float(os.environ.get("MIMFLOW_CHECKPOINT_SECONDS", 60))  # a fact of the machine
    saved, wait, stop = time.monotonic(), 0.0, _watch_signals()
    source = load(batches, state["step"], run.steps)
    for step in range(state["step"], run.steps):
        begin = time.monotonic()
        batch = next(source)
        wait += time.monotonic() - begin
        rate = _step(method, optimiser, render(batch), clock_at(step, run, len(batches.shards)), run, state["sum"])
        loss = None
        if (step + 1) % every == 0 or step + 1 == run.steps:
            loss = _row(state, step + 1, run, rate)
        state["step"] = step + 1
        record.step((step + 1) * run.batch, wait, loss)
        if stop() or time.monotonic() - saved > seconds:
            keep.save(step + 1, {**state, "method": method.state_dict(), "optimiser": optimiser.state_dict()})
            saved = time.monotonic()
            record.event("checkpoint", images=(step + 1) * run.batch)
            if stop():
                raise Interrupted(f"{name}: stopped by a signal after step {step + 1} of {run.steps}; run it again to go on")
    record.end(torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu")
    return [tuple(row) for row in state["rows"]]


def _resume(
    method: nn.Module, optimiser: torch.optim.Optimizer, keep: Checkpoints, device: torch.device
) -> dict[str, Any]:
    """The loop's own state; loads the method's and the optimiser's if there are any."""
    saved = keep.latest()
    if saved is None:
        return {"step": 0, "rows": [], "sum": torch.zeros(2, dtype=torch.float64, device=device)}
    method.load_state_dict(saved.pop("method"))
    optimiser.load_state_dict(saved.pop("optimiser"))
    return {**saved, "sum": saved["sum"].to(device)}


def _step(
    method: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: dict[str, Tensor],
    clock: Clock,
    run: Training,
    total: Tensor,
) -> float:
    """One step; adds the loss and 1 to `total` on the device, so nothing waits. Returns the learning rate."""
    peak = scaled_rate(run.optimiser.base_lr, run.batch)
    rate = warmup_cosine(clock.fraction, 1.0, run.optimiser.warmup, peak)
    for group in optimiser.param_groups:
        group["lr"] = rate
    draw = Draw(batch["place"], "step", run.seed, clock.step)
    with torch.autocast(batch["place"].device.type, torch.bfloat16, enabled=run.precision == "bf16"):
        losses = method(batch, draw, clock)
    optimiser.zero_grad(set_to_none=True)
    losses["loss"].backward()
    optimiser.step()
    after_step = getattr(method, "after_step", None)
    if after_step is not None:
        after_step(clock)
    total[0] += losses["loss"].detach()
    total[1] += 1
    return rate


def _row(state: dict[str, Any], step: int, run: Training, rate: float) -> float:
    """Adds a point to the loss curve: the only place where the loop waits for the device."""
    sum_, count = state["sum"].tolist()
    loss = sum_ / count
    if not math.isfinite(loss):
        raise Diverged(f"the loss is {loss} within steps {step - int(count)} to {step - 1}; a lower base_lr may help")
    state["rows"].append((step * run.batch, loss, rate))
    state["sum"].zero_()
    return loss


def _watch_signals() -> Callable[[], bool]:
    """Whether one of the signals that end a job has come."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, note)
    return lambda: bool(came)


def write_curve(path: Path, rows: list[Row]) -> None:
    """The loss curve as CSV: samples, loss, learning_rate."""
    lines = ["samples,loss,learning_rate", *(f"{samples},{loss!r},{rate!r}" for samples, loss, rate in rows)]
    write(path, ("\n".join(lines) + "\n").encode())
