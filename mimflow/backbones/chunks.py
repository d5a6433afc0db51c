"""A batch through a network in chunks, whose activations are made again in the backward pass.

For losses that couple the images of a batch (negatives, batch statistics): the whole batch meets in
one loss, but only one chunk's activations are held at a time (the gradient cache of Gao et al.,
arXiv 2101.06983, by recomputation).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def chunked(network: Callable[..., Tensor], chunk: int | None, *inputs: Tensor) -> Tensor:
    """`network` (B, ...) of `inputs` (B, ...), `chunk` images at a time; None: all at once."""
    images = len(inputs[0])
    if chunk is None or chunk >= images:
        return network(*inputs)
    parts = zip(*(x.split(chunk) for x in inputs), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([network(*part) for part in parts])
    return torch.cat([checkpoint(network, *part, use_reentrant=False) for part in parts])
