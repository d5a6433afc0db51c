"""Is a run collapsing? Looks at the health in each point of the curve, and says once what fell and
what may help. It changes nothing.

`rank` and `similarity` are of every method (`health.py`), `teacher_entropy` and `centre_entropy` of
self-distillation (`mimflow/targets/selfdistill.py`).
"""

from __future__ import annotations

from typing import NamedTuple


class Sign(NamedTuple):
    """A value of the curve that is bad `below` (or else above) its `limit`, once it was better than
    `before`.
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
        0.4,
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
        self.said: set[str] = set()

    def __call__(self, row: dict[str, float]) -> list[str]:
        """A line for each value that fell in `row`."""
        lines = []
        for sign in SIGNS:
            value = row.get(sign.name)
            if value is None or sign.name in self.said:
                continue
            side = 1 if sign.below else -1
            if side * value >= side * sign.before:
                self.was_better.add(sign.name)
            elif side * value < side * sign.limit and sign.name in self.was_better:
                self.said.add(sign.name)
                lines.append(f"{sign.name} fell to {value:.3g}: {sign.advice}")
        return lines
