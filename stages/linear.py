"""Linear probe by logistic regression on the features of one encoder or control."""

import sys
from pathlib import Path
from typing import Any

from mimflow.params.check import parse
from mimflow.params.tasks.linear import Linear
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes metrics/linear/<key>.json."""
    from mimflow.evals import linear
    from mimflow.evals.metrics import write_metrics
    from mimflow.evals.stored import read_features

    how = parse(Linear, stage.params("linear"), "linear")
    draws, labels = read_features(Path(f"features/{stage.key}.safetensors"))

    def predict(train: Any, known: Any, held: Any) -> dict[str, Any]:
        return {"probe": linear.predict(train, known, held, how.c, how.max_iter)}

    out = Path(f"metrics/linear/{stage.key}.json")
    write_metrics(draws, labels, out, predict, "probe", grid=False)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("linear", body, argv)


if __name__ == "__main__":
    sys.exit(main())
