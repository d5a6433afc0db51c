"""The processes that train one run together.

What a loss needs from the whole batch comes from here: `total` sums a count, `gather` joins
embeddings, in the order of the ranks, which is the order of places in the global batch. Both are
differentiable in the sense of one loss that is the sum of all ranks' shares.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather, all_reduce

from mimflow.ranks import Processes

PATIENCE = timedelta(minutes=10)  # for a rank that does not come


@contextmanager
def joined(found: Processes) -> Iterator[torch.device]:
    """The group of all processes, and this one's device: a GPU by NCCL, or the CPU by gloo."""
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", found.local % torch.cuda.device_count())
        torch.cuda.set_device(device)
    if found.count == 1:
        yield device
        return
    os.environ.setdefault("MASTER_ADDR", "localhost")
    if "MASTER_PORT" not in os.environ:
        raise ValueError(f"{found.count} processes need MASTER_ADDR and MASTER_PORT to meet at")
    # Numbers of the host (stop, save) travel by gloo and never wait for a GPU.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, rank=found.rank, world_size=found.count, timeout=PATIENCE)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def together() -> bool:
    """Whether there is more than this process."""
    return dist.is_initialized() and dist.get_world_size() > 1


def place_among() -> tuple[int, int]:
    """(rank, ranks) of this process."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def from_first(word: str | None) -> str | None:
    """What the first process says, on every process."""
    if not together():
        return word
    words = [word]
    dist.broadcast_object_list(words, src=0, device=torch.device("cpu"))
    return words[0]


def total(x: Tensor) -> Tensor:
    """The sum of `x` over all ranks; not for gradients."""
    x = x.detach().clone()
    if together():
        dist.all_reduce(x)
    return x


def reduce(x: Tensor) -> Tensor:
    """The sum of `x` over all ranks; a gradient flows back to every rank's part."""
    return all_reduce(x) if together() else x


def gather(x: Tensor) -> Tensor:
    """(R B, ...) from each rank's (B, ...), in order; a gradient flows back to each part."""
    return torch.cat(all_gather(x.contiguous())) if together() else x


class Agreement:
    """A number on which all ranks agree, one step late, so that no step waits for it.

    Each rank says its number after a step; `answer` after the next step is the largest that was
    said, the same at the same step on every rank.
    """

    def __init__(self) -> None:
        self._said: Tensor | None = None
        self._work: dist.Work | None = None

    def answer(self, number: int) -> int:
        """The largest number of the step before; `number` itself if this process is alone."""
        if not together():
            return number
        agreed = 0
        if self._work is not None and self._said is not None:
            self._work.wait()
            agreed = int(self._said)
        self._said = torch.tensor(number)
        self._work = dist.all_reduce(self._said, dist.ReduceOp.MAX, async_op=True)
        return agreed

    def settle(self) -> None:
        """Ends what is still under way."""
        if self._work is not None:
            self._work.wait()
