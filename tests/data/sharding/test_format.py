"""The place of a record depends on its name alone, for ever."""

from __future__ import annotations

import numpy as np

from mimflow.data.sharding.format import shard_of


def test_the_shard_of_a_name_never_changes() -> None:
    names = ["a", "train/cat/1.jpg", "ü"]
    assert [shard_of(name, 1000) for name in names] == [802, 866, 128]
    counts = np.bincount([shard_of(f"{i}.jpg", 8) for i in range(8000)], minlength=8)
    assert abs(counts - 1000).max() < 120  # four standard deviations
