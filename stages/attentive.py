"""Attentive probe on the patch tokens of one encoder or random control."""

import sys
from functools import partial
from pathlib import Path

from mimflow.params.check import parse
from mimflow.params.sections import Features
from mimflow.params.tasks.attentive import Attentive
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes metrics/attentive/<key>.json."""
    from mimflow.evals import attentive
    from mimflow.evals.metrics import write_metrics
    from mimflow.evals.stored import read_labels
    from mimflow.evals.tokens import token_draws

    how = parse(Attentive, stage.params("attentive"), "attentive")
    features = Path(f"features/{stage.key}.safetensors")
    draws = token_draws(features, parse(Features, stage.params("features"), "features"))
    out = Path(f"metrics/attentive/{stage.key}.json")
    predict = partial(attentive.predict, how=how)
    write_metrics(draws, read_labels(features), out, predict, "probe", grid=False)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("attentive", body, argv)


if __name__ == "__main__":
    sys.exit(main())
