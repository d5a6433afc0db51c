"""Which of how many processes this is: found from torchrun or SLURM, one of one by default."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Processes:
    """This process is `rank` of `count`, the `local`-th on its machine."""

    rank: int
    count: int
    local: int


def discover() -> Processes:
    """From torchrun's variables, else from SLURM's, where a step has several tasks; else one."""
    for rank, count, local in (
        ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    ):
        if rank in os.environ and count in os.environ:
            numbers = (int(os.environ.get(name, 0)) for name in (rank, count, local))
            return Processes(*numbers)
    return Processes(0, 1, 0)
