"""Pre-training of a run that needs a teacher or stored targets: as of any run."""

from __future__ import annotations

import sys
from collections.abc import Callable

from mimflow.params.check import parse, schema_of
from mimflow.stage import Stage, run
from stages import pretrain


def body(stage: Stage) -> Callable[[], None]:
    """Trains `stage.key` from its newest state on; returns what drops the state."""
    from mimflow.ranks import discover
    from mimflow.train.processes import joined

    where = f"taught.{stage.key}"
    values = stage.params(where)
    params = parse(schema_of(values["method"]), values, where)
    processes = discover()
    with joined(processes) as device:
        return pretrain._train(stage, params, processes, device)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("taught", body, argv)


if __name__ == "__main__":
    sys.exit(main())
