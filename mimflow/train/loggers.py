"""Loggers that some like to watch, local and optional: MIMFLOW_LOGGERS=tensorboard,dvclive.

They only see the points of the curve. What they write lies below logs/ and is no output.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mimflow.params.check import nearest

Values = dict[str, float | str | None]
Logger = Callable[[int, Values], None]


@contextmanager
def open_loggers(name: str) -> Iterator[list[Logger]]:
    """The loggers that MIMFLOW_LOGGERS names, for the run `name`. Raises ValueError for an unknown
    one and for one that is not installed.
    """
    wanted = [n for n in os.environ.get("MIMFLOW_LOGGERS", "").split(",") if n]
    known = {"tensorboard": _tensorboard, "dvclive": _dvclive}
    with ExitStack() as stack:
        loggers = []
        for one in wanted:
            if one not in known:
                raise ValueError(f"MIMFLOW_LOGGERS: {one!r} ({nearest(one, known)})")
            try:
                loggers.append(stack.enter_context(known[one](name)))
            except ImportError as error:
                raise ValueError(f"MIMFLOW_LOGGERS: {one} is not installed ({error})") from None
        yield loggers


def _numbers(values: Values) -> dict[str, float]:
    return {n: x for n, x in values.items() if isinstance(x, int | float)}


@contextmanager
def _tensorboard(name: str) -> Iterator[Logger]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(Path("logs") / "tensorboard" / name) as writer:

        def log(images: int, values: Values) -> None:
            for key, x in _numbers(values).items():
                writer.add_scalar(key, x, images)

        yield log


@contextmanager
def _dvclive(name: str) -> Iterator[Logger]:
    from dvclive import Live

    folder = str(Path("logs") / "dvclive" / name)
    with Live(folder, save_dvc_exp=False, dvcyaml=None, cache_images=False) as live:

        def log(images: int, values: Values) -> None:
            live.step = images
            for key, x in _numbers(values).items():
                live.log_metric(key, x)
            live.make_summary()

        yield log
