"""MAE's linear probe, all learning rates at once, on the features of one encoder or control."""

import sys
from functools import partial
from pathlib import Path

from mimflow.params.check import parse
from mimflow.params.tasks.linear_sgd import LinearSgd
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes metrics/linear_sgd/<key>.json."""
    from mimflow.evals import linear_sgd
    from mimflow.evals.metrics import write_metrics
    from mimflow.evals.stored import read_features

    how = parse(LinearSgd, stage.params("linear_sgd"), "linear_sgd")
    draws, labels = read_features(Path(f"features/{stage.key}.safetensors"))
    out, headline = Path(f"metrics/linear_sgd/{stage.key}.json"), linear_sgd.variant(how.base_lr)
    write_metrics(draws, labels, out, partial(linear_sgd.predict, how=how), headline, grid=True)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("linear_sgd", body, argv)


if __name__ == "__main__":
    sys.exit(main())
