"""What was hidden and predicted, as scalars."""

from __future__ import annotations

import pytest
import torch

from mimflow.targets.seen import seen


def test_mean_and_deviation_are_those_of_the_values_that_count() -> None:
    target = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 2
    patches, hidden = torch.zeros(2, 16), torch.zeros(2, 4, dtype=torch.long)
    where = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    where[0, :, 1:3] = where[1, :, :, 2] = True
    for values, mask in ((target, None), (target[where.expand_as(target)], where)):
        found = seen(patches, hidden, target, mask)
        assert found["mask_ratio"].item() == 0.25
        assert found["target_mean"].item() == pytest.approx(values.mean().item(), abs=1e-6)
        assert found["target_std"].item() == pytest.approx(
            values.std(correction=0).item(), rel=1e-5
        )
