"""A teacher: imported, trained here, the encoder of a run, or random; weights and a card."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from mimflow.params.built import TEACHERS
from mimflow.params.check import parse
from mimflow.stage import Stage, run


def body(stage: Stage) -> Callable[[], None]:
    """Writes teachers/<key>/weights.safetensors and card.json; returns what drops the state."""
    import shutil

    from mimflow.data.shards import Shards
    from mimflow.data.workers import make_room

    shards = Shards(Path("data/index.json"), Path("data/shards"), "train")
    make_room(shards)
    from mimflow.ranks import discover
    from mimflow.teachers.frozen import save_teacher
    from mimflow.teachers.place import Place
    from mimflow.train.processes import joined

    where = f"teachers.{stage.key}"
    values = stage.params(where)
    params = parse(TEACHERS[values["kind"]], values, where)
    kind = importlib.import_module(f"mimflow.teachers.{params.kind}")
    state = Path("state") / f"teachers-{stage.key}-{stage.made_hash[:16]}"
    processes = discover()
    with joined(processes) as device:
        made = kind.make(params, Place(str(stage.key), state, shards, processes, device))
    if processes.rank == 0:
        data = {"mean": shards.mean, "std": shards.std}
        card = {"licence": None, **made.card, "teacher": params.kind, "data": data}
        save_teacher(Path("teachers") / str(stage.key), made.encoder, card, made.projection)
    return lambda: shutil.rmtree(state, ignore_errors=True)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("teachers", body, argv)


if __name__ == "__main__":
    sys.exit(main())
