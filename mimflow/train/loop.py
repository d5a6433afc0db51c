"""The one training loop. It knows batches, a method that gives a loss, an optimiser and a clock;
never which method.

The state after a step is a function of the state before it and of the step's number, so that a run
that was killed and resumed ends in the same bits as one that was not, and so does one that was
handed from two processes to one, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mimflow.data.loader import Batches, load
from mimflow.params.training import Budget
from mimflow.ranks import Processes
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.clock import Clock
from mimflow.train.deadline import Deadline
from mimflow.train.flops import cost_of
from mimflow.train.health import Look
from mimflow.train.memory import fitting
from mimflow.train.optim import build_optimiser, parameter_groups
from mimflow.train.outcome import Interrupted
from mimflow.train.parallel import like, spread
from mimflow.train.processes import Agreement, together
from mimflow.train.progress import Progress, Row
from mimflow.train.record import Record
from mimflow.train.scale import LossScale
from mimflow.train.step import Stepper

SAVE, STOP = 1, 2  # what a rank may wish for after a step
Render = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def clock_at(step: int, run: Budget, count: int) -> Clock:
    """The clock of `step` for a data set of `count` images."""
    per_epoch = count / run.batch
    return Clock(step, run.steps, step / per_epoch, run.steps / per_epoch)


def train(
    method: nn.Module,
    batches: Batches,
    render: Render,
    run: Budget,
    keep: Checkpoints,
    record: Record,
    processes: Processes,
) -> list[Row]:
    """Trains `method` in place for `run.steps` steps, from `keep`'s newest state on; returns the
    curve: samples, loss, learning_rate, gradient_norm, rank, similarity, what the method reports.

    Raises Diverged when loss or gradient is not finite more often than allowed, Interrupted (state
    saved) on a signal or before a deadline, ValueError where the batch does not divide.
    """
    device = next(method.parameters()).device
    saved = keep.latest() or {}
    record.cost = cost_of(method, render(_batch(batches, 0)), run.seed)
    model = spread(method, run.compute, device)
    rule = run.optimiser
    scale_of = getattr(method, "scale_of", lambda name: 1.0)  # of a layer's rate
    named = list(method.named_parameters())
    groups = parameter_groups(named, rule.weight_decay, rule.undecayed, scale_of)
    optimiser, scale = (
        build_optimiser(groups, rule),
        LossScale(run.compute.precision == "fp16", device),
    )
    micro = _micro(run, processes)  # of a resumed run too: its processes may be others
    micro = saved.get("micro", micro)
    stepper = Stepper(method, model, optimiser, run, micro, scale)
    if device.type == "cuda" and not saved:
        batch = render(_batch(batches, run.steps - 1))  # the largest, where the size grows
        stepper.micro = fitting(method, lambda m: stepper.trial(batch, m), micro, device)
    state = Progress(run, batches.samples, saved)
    if saved:
        _restore(method, optimiser, scale, saved)
    _run(stepper, batches, render, state, keep, record, Look(method.encoder))  # type: ignore[arg-type]
    return state.rows


def _run(
    stepper: Stepper,
    batches: Batches,
    render: Render,
    state: Progress,
    keep: Checkpoints,
    record: Record,
    look: Look,
) -> None:
    """The steps that are left."""
    run, agreement, deadline = stepper.run, Agreement(), Deadline()
    behind = -1  # the step whose answer repeats what was saved in the step before
    with record.over(run.steps * run.batch, state.step * run.batch):
        for step, batch in record.waiting(load(batches, state.step, run.steps), state.step):
            clock = clock_at(step, run, len(batches.shards))
            look.wanted = state.is_point(step + 1)
            values = stepper(render(batch), clock)
            state.add(step, values)
            row = None
            if state.is_point(step + 1):
                row = state.row(stepper.optimiser.param_groups[0]["lr"], look.measure())
            record.step((step + 1) * run.batch, row)
            wish = STOP if deadline.reason else SAVE if record.checkpoint_due() else 0
            wish = agreement.answer(wish)
            if wish == SAVE and step == behind:
                continue
            if wish and step + 1 < run.steps:
                state.check()  # never save behind a step that was not looked at
                keep.save(step + 1, _snapshot(stepper, state))
                record.checkpoint((step + 1) * run.batch)
                behind = step + 1 if together() else -1
            if wish == STOP and step + 1 < run.steps:
                keep.settle()
                agreement.settle()
                why = deadline.reason or "with the others"
                deadline.heed()
                raise Interrupted(
                    f"{record.name}: stopped {why} after step {step + 1} of {run.steps}; run it"
                    " again to go on"
                )
        agreement.settle()
        keep.save(run.steps, _snapshot(stepper, state))  # until the outputs are written
        keep.settle()
        record.end()


def _batch(batches: Batches, step: int) -> dict[str, Tensor]:
    return {name: torch.as_tensor(x) for name, x in batches[step].items()}


def _micro(run: Budget, processes: Processes) -> int:
    """Images on this device at a time. Raises ValueError where the batch does not divide."""
    if run.batch % processes.count:
        raise ValueError(f"batch {run.batch} does not divide by {processes.count} processes")
    share = run.batch // processes.count
    micro = min(run.compute.micro_batch, share)
    if share % micro:
        raise ValueError(
            f"batch {run.batch} on {processes.count} processes is {share} images each, no multiple"
            f" of compute.micro_batch {micro}"
        )
    return micro


def _snapshot(stepper: Stepper, state: Progress) -> dict[str, Any]:
    """All that a resume needs."""
    return {
        **state.saved(),
        "micro": stepper.micro,
        "scale": stepper.scale.state,
        "method": stepper.method.state_dict(),
        "optimiser": stepper.optimiser.state_dict(),
    }


def _restore(
    method: nn.Module, optimiser: torch.optim.Optimizer, scale: LossScale, saved: dict[str, Any]
) -> None:
    """Loads what `_snapshot` took, laid out for the present number of processes."""
    places = method.state_dict()
    method.load_state_dict({k: like(x, places[k]) for k, x in saved["method"].items()})
    parameters = [p for g in optimiser.param_groups for p in g["params"]]
    old = saved["optimiser"]

    states = {
        number: {name: _placed(x, parameters[number]) for name, x in state.items()}
        for number, state in old["state"].items()
    }
    optimiser.load_state_dict({**old, "state": states})
    scale.state = saved["scale"].to(scale.state.device)


def _placed(x: Any, p: Tensor) -> Any:
    """A moment of a parameter laid out as it is; a count as it is."""
    return like(x, p) if isinstance(x, Tensor) and x.shape == p.shape else x
