"""Fine-tuning of an encoder or random control, end to end on labels, one training for each seed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from mimflow.params.check import parse
from mimflow.params.tasks.finetune import Finetune
from mimflow.stage import Stage, run


def body(stage: Stage) -> Callable[[], None]:
    """Writes metrics/finetune/<key>.json; returns what drops the state."""
    import numpy as np

    from mimflow.data.shards import FOLDER, INDEX, Shards
    from mimflow.train.place import placed

    how = parse(Finetune, stage.params("finetune"), "finetune")
    with placed(stage, "finetune") as place:
        from mimflow.evals.finetuning import Tuning
        from mimflow.evals.metrics import write_metrics
        from mimflow.evals.origin import read_card

        origin = read_card(Path(f"features/{stage.key}.safetensors"))["origins"][0]
        train, held = place.shards, Shards(INDEX, FOLDER, place.shards.held_out)
        numbers = {"train": np.arange(len(train)), "held": np.arange(len(held))}
        labels = {"train": train.labels(), "held": held.labels()}
        tuning = Tuning(origin, held, how, place)
        out = Path(f"metrics/finetune/{stage.key}.json")
        write_metrics([{"tuned": numbers}], labels, out, tuning.predict, "finetune", grid=False)
    return tuning.drop


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("finetune", body, argv)


if __name__ == "__main__":
    sys.exit(main())
