"""The order of images."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimflow.data.order import BLOCKS, permute, samples_at


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 3000), key=st.integers(0, 2**31))
def test_an_epoch_holds_every_image_once(count: int, key: int) -> None:
    assert sorted(permute(np.arange(count), count, key)) == list(range(count))


@settings(max_examples=80, deadline=None)
@given(count=st.integers(1, 2000), window=st.integers(1, 2500), seed=st.integers(0, 2**31))
def test_an_epoch_in_windows_holds_every_image_once(count: int, window: int, seed: int) -> None:
    ids = samples_at(np.arange(2 * count), count, seed, window)
    assert sorted(ids[:count]) == sorted(ids[count:]) == list(range(count))


def test_a_window_reads_a_few_stretches_and_mixes_them() -> None:
    count, window = 100_000, 1600
    ids = samples_at(np.arange(count), count, 0, window)
    for first in range(0, count - window, window):
        inside = np.sort(ids[first : first + window])
        assert (np.diff(inside) > 1).sum() <= BLOCKS  # one more where a stretch wraps around
        assert abs(np.corrcoef(ids[first : first + window], np.arange(window))[0, 1]) < 0.2
    assert abs(np.corrcoef(ids, np.arange(count))[0, 1]) < 0.2
    assert not np.array_equal(ids, samples_at(np.arange(count, 2 * count), count, 0, window))


def test_a_position_in_windows_has_its_image_whatever_is_asked_beside_it() -> None:
    whole = samples_at(np.arange(700), 177, seed=3, window=40)
    assert np.array_equal(whole[150:200], samples_at(np.arange(150, 200), 177, 3, 40))
    assert [int(samples_at(np.array([p]), 177, 3, 40)[0]) for p in range(400)] == whole[
        :400
    ].tolist()


def test_a_window_of_all_images_is_no_window() -> None:
    positions = np.arange(300)
    assert np.array_equal(samples_at(positions, 77, 1, 77), samples_at(positions, 77, 1))


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


@pytest.mark.parametrize("window", [None, 100_000])
@pytest.mark.parametrize("count", [10**8, 10**9, 10**14])
def test_memory_does_not_grow_with_the_data(count: int, window: int | None) -> None:
    tracemalloc.start()
    ids = samples_at(np.arange(count - 64, count), count, 0, window)
    assert len(set(ids.tolist())) == 64 and ids.min() >= 0 and ids.max() < count
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
