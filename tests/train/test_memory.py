"""A micro-batch that does not fit is halved, and the trial leaves no trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mimflow.train.memory import fitting


class Counting(nn.Module):
    """Has room for `room` images, and a buffer that every forward pass changes."""

    def __init__(self, room: int):
        super().__init__()
        self.layer, self.room = nn.Linear(2, 2), room
        self.register_buffer("seen", torch.zeros(1))
        self.tried: list[int] = []

    def trial(self, images: int) -> None:
        self.tried.append(images)
        self.seen += 1
        self.layer(torch.ones(images, 2)).sum().backward()
        if images > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")


def test_the_micro_batch_is_halved_until_it_fits_and_nothing_is_left_behind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    method = Counting(20)
    assert fitting(method, method.trial, 64, torch.device("cpu")) == 16
    assert method.tried == [64, 32, 16] and method.seen.item() == 0
    assert all(p.grad is None for p in method.parameters())
    assert "micro-batches of 16 at the same batch" in capsys.readouterr().err


def test_one_image_that_does_not_fit_is_refused() -> None:
    method = Counting(0)
    with pytest.raises(ValueError, match="one image is more than the device's memory"):
        fitting(method, method.trial, 4, torch.device("cpu"))
