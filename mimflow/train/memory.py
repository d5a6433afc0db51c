"""The micro-batch that fits: halved at the start of a run until a trial passes."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mimflow.train.processes import together


def fitting(
    method: nn.Module, trial: Callable[[int], None], micro: int, device: torch.device
) -> int:
    """`micro` or the first half of a half of it whose `trial` (forward and backward) has the
    memory, the same on all ranks. The method's buffers and gradients are left as they were.

    Raises ValueError when one image is too much.
    """
    trained = [p for p in method.parameters() if p.requires_grad]
    buffers = [b.clone() for b in method.buffers()]
    while True:
        fits = _tried(trial, micro, trained)
        for buffer, before in zip(method.buffers(), buffers, strict=True):
            buffer.copy_(before)
        if _everywhere(fits, device):
            return micro
        if micro == 1:
            raise ValueError("compute.micro_batch: one image is more than the device's memory")
        micro //= 2
        print(f"out of memory: micro-batches of {micro} at the same batch", file=sys.stderr)


def _tried(trial: Callable[[int], None], micro: int, trained: list[nn.Parameter]) -> bool:
    try:
        moments: list[Tensor] = [torch.empty_like(p) for p in trained for _ in range(2)]  # AdamW's
        trial(micro)
        del moments
    except torch.OutOfMemoryError:
        return False
    finally:
        for p in trained:
            p.grad = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return True


def _everywhere(fits: bool, device: torch.device) -> bool:
    if not together():
        return fits
    flag = torch.tensor(int(fits))
    dist.all_reduce(flag, dist.ReduceOp.MIN)
    return bool(flag)
