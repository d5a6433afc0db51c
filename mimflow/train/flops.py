"""What a step costs in arithmetic, and what share of the device's peak that is.

Counted by torch's own counter over matrix products, convolutions and attention of a forward and
backward pass of two images on a copy of the method: a product of (m, k) by (k, n) is 2 m k n.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mimflow.draw import Draw
from mimflow.train.clock import Clock
from mimflow.train.parallel import BLOCKS

# Dense matrix products in bf16 or fp16 without sparsity, TFLOP/s, from the makers' data sheets.
PEAKS = {
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
    "V100": 125.0,
    "T4": 65.0,
}


class Cost(NamedTuple):
    """Of one image: floating-point operations of a training step, tokens that the encoder sees."""

    flops: float
    tokens: float


def cost_of(method: nn.Module, batch: dict[str, Tensor], seed: int) -> Cost:
    """The cost of an image of `batch`, which stays as it is, like `method`."""
    two = {name: x[:2] for name, x in batch.items()}
    copied = copy.deepcopy(method)
    seen: list[int] = []

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        seen.append(inputs[0].numel() // inputs[0].shape[-1])

    first = _first_block(copied.encoder)  # type: ignore[arg-type]
    if first is not None:
        first.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter:
        losses = copied(two, Draw(two["place"], "step", seed, 0), Clock(0, 1, 0.0, 1.0))
        losses["loss"].backward()
    images = len(two["place"])
    return Cost(counter.get_total_flops() / images, sum(seen) / images)


def _first_block(encoder: nn.Module) -> nn.Module | None:
    return next((part for part in encoder.modules() if isinstance(part, BLOCKS)), None)


def peak_of(device: str) -> float | None:
    """FLOP/s of a device by its name; None where it is not known."""
    found = [peak for name, peak in PEAKS.items() if name in device]
    return found[0] * 1e12 if found else None
