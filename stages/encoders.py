"""An encoder given as a file, with its features: evaluated like a run of ours from here on."""

import sys
from pathlib import Path

from mimflow.params.check import parse
from mimflow.params.sections import Features, Imported
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes runs/<key>/encoder.safetensors and features/<key>.safetensors."""
    from mimflow.encoder import input_size, save_encoder
    from mimflow.evals.features import write_features
    from mimflow.evals.origin import of_file
    from mimflow.foreign import import_encoder

    where = f"encoders.{stage.key}"
    how = parse(Features, stage.params("features"), "features")
    given = parse(Imported, stage.params(where), where)
    model = import_encoder(Path(given.weights), given.timm.name, given.timm.kwargs)
    timm = {"name": given.timm.name, "kwargs": {**given.timm.kwargs, "num_classes": 0}}
    path = Path(f"runs/{stage.key}/encoder.safetensors")
    card = {"kind": "timm", "timm": timm, "img_size": input_size(model)}
    save_encoder(path, model, {**card, "mean": given.mean, "std": given.std})
    write_features(Path(f"features/{stage.key}.safetensors"), [of_file(path, how)], how)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("encoders", body, argv)


if __name__ == "__main__":
    sys.exit(main())
