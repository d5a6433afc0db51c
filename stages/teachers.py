"""A teacher: imported, trained here, the encoder of a run, or random; weights and a card."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from mimflow.params.built import TEACHERS
from mimflow.params.check import parse
from mimflow.stage import Stage, run


def body(stage: Stage) -> Callable[[], None] | None:
    """Writes teachers/<key>/weights.safetensors and card.json; returns what drops the state."""
    from mimflow.train.place import placed

    where = f"teachers.{stage.key}"
    values = stage.params(where)
    params = parse(TEACHERS[values["kind"]], values, where)
    with placed(stage, "teachers") as place:
        from mimflow.teachers.frozen import save_teacher

        made = importlib.import_module(f"mimflow.teachers.{params.kind}").make(params, place)
    if place.processes.rank == 0:
        data = {"mean": place.shards.mean, "std": place.shards.std}
        card = {"licence": None, **made.card, "teacher": params.kind, "data": data}
        save_teacher(Path("teachers") / place.key, made.encoder, card, made.projection)
    return made.drop


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("teachers", body, argv)


if __name__ == "__main__":
    sys.exit(main())
