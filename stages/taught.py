"""Pre-training of a run that needs a teacher or stored targets: as of any run."""

from __future__ import annotations

import sys
from collections.abc import Callable

from mimflow.params.check import parse, schema_of
from mimflow.params.training import Training
from mimflow.stage import Stage, run
from stages import pretrain


def body(stage: Stage) -> Callable[[], None]:
    """Trains `stage.key` from its newest state on; returns what drops the state."""
    where = f"taught.{stage.key}"
    values = stage.params(where)
    params = parse(schema_of(values["method"]), values, where)
    assert isinstance(params, Training)
    return pretrain.train_run(stage, params)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("taught", body, argv)


if __name__ == "__main__":
    sys.exit(main())
