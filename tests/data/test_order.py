"""The order of images."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimflow.data.order import permute, samples_at


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 3000), key=st.integers(0, 2**31))
def test_an_epoch_holds_every_image_once(count: int, key: int) -> None:
    assert sorted(permute(np.arange(count), count, key)) == list(range(count))


def test_epochs_and_seeds_differ() -> None:
    first, second = (samples_at(np.arange(100) + e * 100, 100, seed=0) for e in (0, 1))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, samples_at(np.arange(100), 100, seed=1))


def test_a_position_has_its_image_whatever_is_asked_beside_it() -> None:
    whole = samples_at(np.arange(1000), 77, seed=3)
    assert np.array_equal(whole[500:532], samples_at(np.arange(500, 532), 77, seed=3))
    assert [int(samples_at(np.array([p]), 77, seed=3)[0]) for p in range(300)] == whole[
        :300
    ].tolist()


def test_a_batch_may_span_two_epochs() -> None:
    both = samples_at(np.arange(70, 90), 77, seed=3)
    assert np.array_equal(
        both,
        np.concatenate(
            [samples_at(np.arange(70, 77), 77, 3), samples_at(np.arange(77, 90), 77, 3)]
        ),
    )


def test_the_order_is_mixed() -> None:
    order = samples_at(np.arange(10_000), 10_000, seed=0)
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05
    assert np.mean(np.diff(order) == 1) < 0.002


@pytest.mark.parametrize("count", [10**9, 10**14])
def test_memory_does_not_grow_with_the_data(count: int) -> None:
    tracemalloc.start()
    ids = samples_at(np.arange(count - 64, count), count, seed=0)
    assert len(set(ids.tolist())) == 64 and ids.min() >= 0 and ids.max() < count
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
