"""Masks of unequal counts in one shape."""

from __future__ import annotations

import torch

from mimflow.masks.ragged import first_hidden


def test_hidden_places_come_first_in_raster_order_and_are_marked() -> None:
    mask = torch.tensor([[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
    index, hidden = first_hidden(mask, 3)
    assert index[0].tolist() == [1, 3, 4] and index[2, 0] == 0
    assert hidden.sum(1).tolist() == [3, 0, 1]
    assert all(len(set(row)) == 3 for row in index.tolist())
    assert first_hidden(mask, 0)[0].shape == (3, 0)
