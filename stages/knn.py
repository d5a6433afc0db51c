"""Weighted k-nearest neighbours on the features of one encoder or control."""

import sys
from pathlib import Path

from mimflow.params.check import parse
from mimflow.params.sections import Knn
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes metrics/knn/<key>.json."""
    from mimflow.evals.knn import knn_accuracy
    from mimflow.evals.metrics import write_metrics

    how = parse(Knn, stage.params("knn"), "knn")
    features, out = Path(f"features/{stage.key}.safetensors"), Path(f"metrics/knn/{stage.key}.json")
    write_metrics(features, out, lambda x, y: knn_accuracy(x, y, how))


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("knn", body, argv)


if __name__ == "__main__":
    sys.exit(main())
