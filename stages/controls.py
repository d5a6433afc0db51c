"""The features of a control: random weights of the same encoder, or raw pixels."""

import sys
from functools import partial
from pathlib import Path

from mimflow.params.check import CONTROLS, parse
from mimflow.params.sections import Features
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes features/<key>.safetensors, one draw or several."""
    from mimflow.evals.controls import pixel_features, random_features
    from mimflow.evals.features import write_features

    where = f"controls.{stage.key}"
    how = parse(Features, stage.params("features"), "features")
    control = parse(CONTROLS[stage.params(where)["kind"]], stage.params(where), where)
    if control.kind == "random":
        draws = [
            partial(random_features, control=control, number=i, how=how)
            for i in range(control.draws)
        ]
    else:
        draws = [partial(pixel_features, control=control, how=how)]
    write_features(Path(f"features/{stage.key}.safetensors"), draws, how)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("controls", body, argv)


if __name__ == "__main__":
    sys.exit(main())
