"""Pre-training of one run that builds on a tokenizer: trained, logged and kept as by `pretrain`."""

import sys
from collections.abc import Callable

from mimflow.params.check import parse, schema_of
from mimflow.stage import Stage, run
from stages.pretrain import _train


def body(stage: Stage) -> Callable[[], None]:
    """Trains `stage.key` from its newest state on; returns what drops the state."""
    from mimflow.ranks import discover
    from mimflow.train.processes import joined

    where = f"staged.{stage.key}"
    values = stage.params(where)
    params = parse(schema_of(values["method"]), values, where)
    processes = discover()
    with joined(processes) as device:
        return _train(stage, params, processes, device)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("staged", body, argv)


if __name__ == "__main__":
    sys.exit(main())
