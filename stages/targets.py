"""What a teacher makes of a finite set of crops, as shards that the loader reads."""

import sys
from pathlib import Path

from mimflow.params.check import parse
from mimflow.params.targets import Targets
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes targets/<key>/shards and index.json."""
    from mimflow.data.shards import FOLDER, INDEX, Shards
    from mimflow.teachers.storing import store

    where = f"targets.{stage.key}"
    how = parse(Targets, stage.params(where), where)
    shards = Shards(INDEX, FOLDER, "train")
    store(Path("targets") / str(stage.key), how, shards)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("targets", body, argv)


if __name__ == "__main__":
    sys.exit(main())
