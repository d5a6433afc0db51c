"""The counts of a shard are exact, whatever the sizes of its pictures and however it is cut."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mimflow.data.sharding.facts import Facts

SIZES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=8)


def pictures(sizes: list[tuple[int, int]], seed: int) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


@settings(max_examples=25, deadline=None)
@given(SIZES)
@example([(3, 5), (1100, 1001), (7, 2)])  # more values than are summed at once
def test_sums_are_exact_for_small_and_large_pictures(sizes: list[tuple[int, int]]) -> None:
    facts, train = Facts(), pictures(sizes, len(sizes))
    for pixels in train:
        facts.add("train", 0, pixels)
        facts.add("test", 0, pixels)  # does not count
    values = np.concatenate([pixels.reshape(-1, 3) for pixels in train]).astype(np.int64)
    found = facts.as_json()
    assert found["sums"] == [values.sum(0).tolist(), (values**2).sum(0).tolist()]
    assert found["pixels"] == len(values)
    assert found["rows"] == {"train": len(train), "test": len(train)}


def test_the_brightest_picture_does_not_overflow() -> None:
    facts = Facts()
    for _ in range(3):
        facts.add("train", 0, np.full((1500, 1500, 3), 255, np.uint8))
    count = 3 * 1500**2
    assert facts.as_json()["sums"] == [[255 * count] * 3, [255**2 * count] * 3]


def test_a_picture_is_grey_if_its_channels_agree_everywhere() -> None:
    facts, grey = Facts(), np.repeat(pictures([(5, 7)], 0)[0][..., :1], 3, -1)
    facts.add("train", 0, grey)
    for place in ((0, 0, 1), (4, 6, 2)):
        colour = grey.copy()
        colour[place] ^= 1
        facts.add("train", 0, colour)
    assert facts.as_json()["greyscale"] == 1
