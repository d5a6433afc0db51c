"""Checks params.yaml and hashes the code behind every stage and method."""

import sys
from pathlib import Path

from mimflow.code import refresh
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes code/<name>.json, which the other stages depend on."""
    refresh(stage.outs, Path())


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("code", body, argv)


if __name__ == "__main__":
    sys.exit(main())
