"""Randomness is a function of where it is used."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mimflow.draw import Draw, fold, mix


def numbers(rows: np.ndarray, *key: int | str) -> np.ndarray:
    return Draw(rows, *key).uniform("x", 5)


def test_numpy_and_torch_draw_the_same_bits() -> None:
    rows = np.arange(-3, 1000, dtype=np.int64) * 977
    ours, theirs = Draw(rows, "a", 1), Draw(torch.from_numpy(rows), "a", 1)
    assert np.array_equal(ours.uniform("x", 7), theirs.uniform("x", 7).numpy())
    assert np.array_equal(ours.integers("x", 7, 10), theirs.integers("x", 7, 10).numpy())
    np.testing.assert_allclose(ours.normal("x", 7), theirs.normal("x", 7).numpy(), atol=1e-5)


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    rows = np.arange(64, dtype=np.int64)
    whole = numbers(rows, 3)
    assert np.array_equal(whole[40:48], numbers(rows[40:48], 3))
    assert np.array_equal(whole[::-1], numbers(rows[::-1].copy(), 3))


def test_more_numbers_begin_with_the_same_ones() -> None:
    draw = Draw(np.arange(4, dtype=np.int64), 0)
    assert np.array_equal(draw.uniform("x", 9)[:, :3], draw.uniform("x", 3))
    whole = draw.uniform("x", 40_000)  # mixed in several blocks
    assert np.array_equal(whole[:, :3], draw.uniform("x", 3))
    for i in range(4):
        assert np.array_equal(Draw(draw.rows[i : i + 1], 0).uniform("x", 40_000), whole[i : i + 1])


def test_the_hash_is_splitmix64() -> None:
    state, found = 1234567, []
    for _ in range(3):  # in Python's integers, which have no end
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        found.append(z ^ z >> 31)
    assert found[0] == 6457827717110365317  # of the published code, seed 1234567
    counter = np.array([1234567 + i * 0x9E3779B97F4A7C15 for i in (1, 2, 3)], dtype=object) % 2**64
    assert mix(counter.astype(np.uint64).view(np.int64)).view(np.uint64).tolist() == found


@pytest.mark.parametrize("other", [("a", 2), ("b", 1), ("a", 1, 0), (1, "a")])
def test_every_part_of_the_key_counts(other: tuple[int | str, ...]) -> None:
    rows = np.arange(8, dtype=np.int64)
    assert not np.array_equal(numbers(rows, "a", 1), numbers(rows, *other))
    assert fold("a", 1) != fold(*other)


def test_names_draw_apart() -> None:
    draw = Draw(np.arange(1000, dtype=np.int64), 0)
    x, y = draw.uniform("x", 8).ravel(), draw.uniform("y", 8).ravel()
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.05  # 4.5 standard errors of 8,000 pairs


def test_uniform_is_uniform_in_each_column_and_over_rows() -> None:
    x = Draw(np.arange(20_000, dtype=np.int64), 7).uniform("x", 4)
    assert x.min() >= 0 and x.max() < 1
    np.testing.assert_allclose(x.mean(0), 0.5, atol=0.01)  # 5 standard errors
    np.testing.assert_allclose(x.var(0), 1 / 12, atol=0.003)
    assert abs(np.corrcoef(x.T) - np.eye(4)).max() < 0.035
    assert abs(np.corrcoef(x[:-1, 0], x[1:, 0])[0, 1]) < 0.035


def test_normal_has_mean_0_and_variance_1() -> None:
    x = Draw(np.arange(20_000, dtype=np.int64), 7).normal("x", 2)
    assert np.isfinite(x).all()
    np.testing.assert_allclose(x.mean(0), 0, atol=0.035)
    np.testing.assert_allclose(x.var(0), 1, atol=0.05)


def test_integers_reach_every_value_and_no_other() -> None:
    x = Draw(np.arange(5000, dtype=np.int64), 1).integers("x", 1, 9)
    assert sorted(set(x.ravel())) == list(range(9))


def test_what_the_batch_shares_is_the_same_in_every_part_and_differs_by_step() -> None:
    whole, part = (Draw(np.arange(*r), "step", 3).shared() for r in ((0, 8), (4, 8)))
    assert np.array_equal(whole.uniform("x", 5), part.uniform("x", 5))
    assert whole.uniform("x", 5).shape == (1, 5)
    later = Draw(np.arange(8), "step", 4).shared()
    assert not np.array_equal(whole.uniform("x", 5), later.uniform("x", 5))
