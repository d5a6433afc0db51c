"""How many threads a stage computes with. The count changes the bits of a sum, so it is a
parameter.
"""

from __future__ import annotations

import os

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def set_threads(count: int) -> None:
    """For every library of this process, whatever the environment says. Before numpy or torch is
    imported.
    """
    for name in _VARIABLES:
        os.environ[name] = str(count)
    os.environ["MKL_DYNAMIC"] = os.environ["OMP_DYNAMIC"] = "false"
