"""Linear probe by logistic regression on the features of one encoder or control."""

import sys
from pathlib import Path

from mimflow.params.check import parse
from mimflow.params.sections import Linear
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes metrics/linear/<key>.json."""
    from mimflow.evals.linear import linear_accuracy
    from mimflow.evals.metrics import write_metrics

    how = parse(Linear, stage.params("linear"), "linear")
    features, out = (
        Path(f"features/{stage.key}.safetensors"),
        Path(f"metrics/linear/{stage.key}.json"),
    )
    write_metrics(features, out, lambda x, y: linear_accuracy(x, y, how))


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("linear", body, argv)


if __name__ == "__main__":
    sys.exit(main())
