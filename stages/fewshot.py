"""Few-shot classification on the features of one encoder or control."""

import sys
from functools import partial
from pathlib import Path

from mimflow.params.check import parse
from mimflow.params.tasks.fewshot import Fewshot
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes metrics/fewshot/<key>.json."""
    from mimflow.evals import fewshot
    from mimflow.evals.metrics import write_metrics
    from mimflow.evals.stored import read_features

    how = parse(Fewshot, stage.params("fewshot"), "fewshot")
    draws, labels = read_features(Path(f"features/{stage.key}.safetensors"))
    out = Path(f"metrics/fewshot/{stage.key}.json")
    write_metrics(draws, labels, out, partial(fewshot.predict, how=how), how.shown, grid=False)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("fewshot", body, argv)


if __name__ == "__main__":
    sys.exit(main())
