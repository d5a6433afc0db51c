"""The one training loop. It knows batches, a method that gives a loss, an optimiser and a clock;
never which method.

The state after a step is a function of the state before it and of the step's number, so that a run
that was killed and resumed ends in the same bits as one that was not.
"""

from __future__ import annotations

import math
import signal
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
from mimflow.train.optim import build_optimiser
from mimflow.train.outcome import Diverged, Interrupted
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
    """Trains `method` in place for `run.steps` steps, from `keep`'s newest state on; returns the
    loss curve.

    Raises Diverged when the loss is not finite, Interrupted (state saved) on SIGTERM, SIGINT or
    SIGUSR1.
    """
    device = next(method.parameters()).device
    optimiser = build_optimiser(method, run.optimiser)
    state = _resume(method, optimiser, keep, device)
    stop = _watch_signals()
    with Record("pretrain", name, run.steps * run.batch, state["step"] * run.batch) as record:
        for step, batch in record.waiting(
            load(batches, state["step"], run.steps), start=state["step"]
        ):
            clock = clock_at(step, run, len(batches.shards))
            rate = _step(method, optimiser, render(batch), clock, run, state["sum"])
            state["step"] = step + 1
            record.step((step + 1) * run.batch, _row(state, run, rate))
            if stop() or record.checkpoint_due():
                keep.save(
                    step + 1,
                    {**state, "method": method.state_dict(), "optimiser": optimiser.state_dict()},
                )
                record.checkpoint((step + 1) * run.batch)
            if stop():
                raise Interrupted(
                    f"{name}: stopped by a signal after step {step + 1} of {run.steps};"
                    " run it again to go on"
                )
        record.end(device)
    return [(int(n), loss, rate) for n, loss, rate in state["rows"]]


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
    """One step; adds the loss and 1 to `total` on the device, so nothing waits. Returns the
    learning rate.
    """
    peak = scaled_rate(run.optimiser.base_lr, run.batch)
    rate = warmup_cosine(clock.fraction, 1.0, run.optimiser.warmup, peak)
    for group in optimiser.param_groups:
        group["lr"] = rate
    draw = Draw(batch["place"], "step", run.seed, clock.step)
    with torch.autocast(
        batch["place"].device.type, torch.bfloat16, enabled=run.precision == "bf16"
    ):
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


def _row(state: dict[str, Any], run: Training, rate: float) -> float | None:
    """The mean loss since the last point of the curve, if this step is one: the only wait for the
    device.
    """
    step, every = state["step"], max(1, run.steps // POINTS)
    if step % every and step != run.steps:
        return None
    total, count = state["sum"].tolist()
    loss: float = total / count
    if not math.isfinite(loss):
        first = step - int(count)
        raise Diverged(
            f"the loss is {loss} within steps {first} to {step - 1}; a lower base_lr may help"
        )
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
    lines = [
        "samples,loss,learning_rate",
        *(f"{samples},{loss!r},{rate!r}" for samples, loss, rate in rows),
    ]
    write(path, ("\n".join(lines) + "\n").encode())
