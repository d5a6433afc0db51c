"""The features of a run's encoder for every image, class token and mean of the patches."""

import sys
from pathlib import Path

from mimflow.params.check import parse
from mimflow.params.sections import Features
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes features/<key>.safetensors."""
    from mimflow.encoder import device, load_encoder
    from mimflow.evals.features import extract, write_features

    how = parse(Features, stage.params("features"), "features")
    encoder, card = load_encoder(Path(f"runs/{stage.key}/encoder.safetensors"))
    encoder.to(device())
    out = Path(f"features/{stage.key}.safetensors")
    scale = card["mean"], card["std"]
    write_features(out, [lambda images: extract(encoder, images, *scale, how)], how)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("features", body, argv)


if __name__ == "__main__":
    sys.exit(main())
