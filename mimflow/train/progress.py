"""How far a run is: steps done, the curve so far, and what is not yet in it.

Scalars stay on the device between two points of the curve, so that no step waits for them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimflow.files import write
from mimflow.params.training import Budget
from mimflow.train.outcome import Diverged

POINTS = 200  # of the curve, at most
Row = dict[str, float]


class Progress:
    """The loop's own part of the state: `step` steps done, the curve, what is not yet in it.

    `samples` gives the sample ids of a step.
    """

    def __init__(self, run: Budget, samples: Callable[[int], np.ndarray], saved: dict[str, Any]):
        self.run, self.samples = run, samples
        self.step: int = saved.get("step", 0)
        self.rows: list[Row] = saved.get("rows", [])
        self.sums: dict[str, Tensor] = saved.get("sums", {})
        self.skipped: int = saved.get("skipped", 0)
        self.every = max(1, run.steps // POINTS)
        self._unseen: list[tuple[int, Tensor]] = []

    def is_point(self, done: int) -> bool:
        """Whether the curve has a point after `done` steps."""
        return done % self.every == 0 or done == self.run.steps

    def add(self, step: int, values: dict[str, Tensor]) -> None:
        """Adds a step's scalars on their device; a step that is not finite is left out."""
        finite = values.pop("finite")
        self._unseen.append((step, finite))
        if finite.device.type == "cpu":  # looking costs nothing there
            self.check()
        values["steps"] = torch.ones_like(values["loss"])
        for name, x in values.items():
            x = torch.where(finite, x, 0.0).double()
            before = self.sums.get(name)
            self.sums[name] = x if before is None else before.to(x.device) + x
        self.step = step + 1

    def check(self) -> None:
        """Raises Diverged if more steps than allowed were not finite: it waits for the device."""
        unseen, self._unseen = self._unseen, []
        if not unseen:
            return
        for (step, _), fine in zip(
            unseen, torch.stack([f for _, f in unseen]).tolist(), strict=True
        ):
            if fine:
                continue
            self.skipped += 1
            ids = " ".join(map(str, self.samples(step)))
            if self.skipped > self.run.skip_non_finite:
                raise Diverged(
                    f"step {step}: loss or gradient is not finite; its samples: {ids};"
                    f" skip_non_finite allows {self.run.skip_non_finite}"
                )
            print(f"step {step}: not finite, left out; its samples: {ids}", flush=True)

    def row(self, rate: float, health: dict[str, Tensor]) -> Row:
        """The next point of the curve: means since the last. The only wait for the device."""
        self.check()
        names = list(self.sums)
        sums = dict(zip(names, torch.stack([self.sums[n] for n in names]).tolist(), strict=True))
        count = max(sums.pop("steps"), 1.0)
        means = {name: value / count for name, value in sums.items()}
        row = {"samples": self.step * self.run.batch, "loss": means.pop("loss")}
        row |= {"learning_rate": rate, **means, **{n: float(x) for n, x in health.items()}}
        self.rows.append(row)
        self.sums = {}
        return row

    def saved(self) -> dict[str, Any]:
        """What `__init__` takes again."""
        kept = {"step": self.step, "rows": [dict(r) for r in self.rows], "sums": self.sums}
        return {**kept, "skipped": self.skipped}


def write_curve(path: Path, rows: list[Row]) -> None:
    """The loss curve as CSV, one column for each name."""
    names = list(rows[-1])
    lines = [",".join(names), *(",".join(repr(row.get(n, "")) for n in names) for row in rows)]
    write(path, ("\n".join(lines) + "\n").encode())
