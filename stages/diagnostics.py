"""Measures that need no label, of the features of one encoder or control."""

import sys
from pathlib import Path

from mimflow.files import canonical, write
from mimflow.params.check import parse
from mimflow.params.tasks.diagnostics import Diagnostics
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes metrics/diagnostics/<key>.json."""
    from mimflow.evals.diagnostics import measure
    from mimflow.evals.stored import read_features

    how = parse(Diagnostics, stage.params("diagnostics"), "diagnostics")
    draws, _ = read_features(Path(f"features/{stage.key}.safetensors"))
    write(Path(f"metrics/diagnostics/{stage.key}.json"), canonical(measure(draws, how.images)))


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("diagnostics", body, argv)


if __name__ == "__main__":
    sys.exit(main())
