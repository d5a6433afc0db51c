"""The features of a control: random weights of the same encoder, or raw pixels."""

import sys
from pathlib import Path

from mimflow.params.check import CONTROLS, parse
from mimflow.params.sections import Features
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes features/<key>.safetensors, one draw or several."""
    from mimflow.evals.features import write_features
    from mimflow.evals.origin import of_pixels, of_random

    where = f"controls.{stage.key}"
    how = parse(Features, stage.params("features"), "features")
    control = parse(CONTROLS[stage.params(where)["kind"]], stage.params(where), where)
    if control.kind == "pixels":
        draws = [of_pixels(control, how)]
    else:
        draws = [of_random(control, number, how) for number in range(control.draws)]
    write_features(Path(f"features/{stage.key}.safetensors"), draws, how)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("controls", body, argv)


if __name__ == "__main__":
    sys.exit(main())
