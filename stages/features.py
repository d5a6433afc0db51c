"""The features of a run's encoder for every image, class token and mean of the patches."""

import sys
from pathlib import Path

from mimflow.params.check import parse
from mimflow.params.sections import Features
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes features/<key>.safetensors."""
    from mimflow.evals.features import write_features
    from mimflow.evals.origin import of_file

    how = parse(Features, stage.params("features"), "features")
    encoder = Path(f"runs/{stage.key}/encoder.safetensors")
    write_features(Path(f"features/{stage.key}.safetensors"), [of_file(encoder, how)], how)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("features", body, argv)


if __name__ == "__main__":
    sys.exit(main())
