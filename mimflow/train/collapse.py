"""Is a run collapsing? Looks at the health in each point of the curve, and says once what fell and
what may help. It changes nothing.

`rank` and `similarity` are of every method (`health.py`), `teacher_entropy` and `centre_entropy` of
self-distillation (`mimflow/targets/selfdistill.py`).
"""

from __future__ import annotations

from typing import NamedTuple

PATIENCE = 10  # a twentieth of a whole curve: a centre needs a few steps to find the logits


class Sign(NamedTuple):
    """A value of the curve that is bad `below` (or else above) its `limit`, in PATIENCE points one
    after the other, if it has ever been as good as `before`.
    """

    name: str
    below: bool
    limit: float
    before: float
    advice: str


SIGNS = (
    Sign(
        "rank",
        True,
        1.5,
        3.0,
        "all images look alike to the encoder: a lower learning rate or a longer warm-up; with a"
        " momentum teacher a higher momentum, and centring (centre_momentum below 1)",
    ),
    Sign(
        "centre_entropy",
        True,
        0.2,
        0.0,  # it may be low from the first step: the codes are sharp before anything is learned
        "the teacher gives most images the same code: centring (centre_momentum below 1), or a"
        " higher teacher temperature",
    ),
    Sign(
        "teacher_entropy",
        False,
        0.995,
        0.98,
        "the teacher's codes are flat and say nothing: a lower teacher temperature, or a longer"
        " warm-up of it",
    ),
)


class Watch:
    """Call it with each point of the curve: the warnings that are due, each once in a process."""

    def __init__(self) -> None:
        self.was_better: set[str] = set()
        self.bad: dict[str, int] = {}  # points in a row

    def __call__(self, row: dict[str, float]) -> list[str]:
        """A line for each value that fell in `row`."""
        lines = []
        for sign in SIGNS:
            value = row.get(sign.name)
            if value is None or self.bad.get(sign.name) == PATIENCE:
                continue
            side = 1 if sign.below else -1
            if side * value >= side * sign.before:
                self.was_better.add(sign.name)
            bad = side * value < side * sign.limit and sign.name in self.was_better
            self.bad[sign.name] = self.bad.get(sign.name, 0) + 1 if bad else 0
            if self.bad[sign.name] == PATIENCE:
                lines.append(f"{sign.name} is {value:.3g}: {sign.advice}")
        return lines
