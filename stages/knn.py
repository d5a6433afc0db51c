"""Weighted k-nearest neighbours on the features of one encoder or control."""

import sys
from functools import partial
from pathlib import Path

from mimflow.params.check import parse
from mimflow.params.tasks.knn import Knn
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes metrics/knn/<key>.json."""
    from mimflow.evals import knn
    from mimflow.evals.metrics import write_metrics
    from mimflow.evals.stored import read_features

    how = parse(Knn, stage.params("knn"), "knn")
    draws, labels = read_features(Path(f"features/{stage.key}.safetensors"))
    out, headline = Path(f"metrics/knn/{stage.key}.json"), knn.variant(how.k, how.temperature)
    write_metrics(draws, labels, out, partial(knn.predict, how=how), headline, grid=True)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("knn", body, argv)


if __name__ == "__main__":
    sys.exit(main())
