"""Arrays that a worker hands to the training process without a copy.

What a worker makes goes through shared memory. An array from `empty` lies there from the start;
`tensors` gives the tensor behind it, which torch passes on as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """uint8 of that shape, to be filled."""
    if get_worker_info() is None:
        return np.empty(shape, np.uint8)
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)))
    return torch.tensor([], dtype=torch.uint8).set_(storage).view(shape).numpy()


def tensors(batch: Any) -> dict[str, Tensor]:
    """Each array of a dictionary as a tensor over the same memory."""
    return {
        name: x.base
        if isinstance(x.base, Tensor) and x.base.shape == x.shape
        else torch.from_numpy(x)
        for name, x in batch.items()
    }
