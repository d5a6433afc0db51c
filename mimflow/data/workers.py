"""The processes that decode the images of a run beside it: how many, and room for them. Facts of
the machine, which change no result.
"""

from __future__ import annotations

import os

from mimflow.data.chosen import Chosen
from mimflow.data.shards import Shards

IN_MEMORY = 1 << 30  # bytes of decoded images of one size that are kept


def in_memory(shards: Shards | Chosen) -> bool:
    """Whether all images have one size and are kept decoded: nothing is left to decode."""
    height, width = shards.shape(0)
    return len(shards) * height * width * 3 <= IN_MEMORY and shards.same_size()


def workers_for(shards: Shards | Chosen) -> int:
    """MIMFLOW_WORKERS, or none where all images are decoded, or one for each core up to eight."""
    default = 0 if in_memory(shards) else min(len(os.sched_getaffinity(0)), 8)
    return int(os.environ.get("MIMFLOW_WORKERS", default))


def make_room(shards: Shards | Chosen) -> None:
    """Before torch is imported: where workers share the cores, threads that wait sleep.

    They spin otherwise, on a core that a worker or their own other half needs: training on photos
    took twice as long on two cores (docs/performance.md). Alone, spinning is a tenth faster.
    """
    if workers_for(shards):
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
