"""Fine-tuning of an encoder or random control, end to end on labels, one training for each seed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from mimflow.params.check import parse
from mimflow.params.tasks.finetune import Finetune
from mimflow.ranks import discover
from mimflow.stage import Stage, run


def body(stage: Stage) -> Callable[[], None]:
    """Writes metrics/finetune/<key>.json; returns what drops the state."""
    import shutil

    import numpy as np

    from mimflow.data.shards import Shards
    from mimflow.data.workers import make_room

    train = Shards(Path("data/index.json"), Path("data/shards"), "train")
    make_room(train)
    from mimflow.evals.finetuning import Tuning
    from mimflow.evals.metrics import write_metrics
    from mimflow.evals.origin import read_card
    from mimflow.train.processes import joined

    how = parse(Finetune, stage.params("finetune"), "finetune")
    origin = read_card(Path(f"features/{stage.key}.safetensors"))["origins"][0]
    held = Shards(Path("data/index.json"), Path("data/shards"), train.held_out)
    state = Path("state") / f"finetune-{stage.key}-{stage.made_hash[:16]}"
    processes = discover()
    with joined(processes) as device:
        tuning = Tuning(origin, train, held, how, state, processes, device, str(stage.key))
        numbers = {"train": np.arange(len(train)), "held": np.arange(len(held))}
        labels = {"train": train.labels(), "held": held.labels()}
        out = Path(f"metrics/finetune/{stage.key}.json")
        draws = [{"tuned": numbers}]
        write_metrics(draws, labels, out, tuning.predict, "finetune", grid=False)
    return lambda: shutil.rmtree(state, ignore_errors=True)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("finetune", body, argv)


if __name__ == "__main__":
    sys.exit(main())
