"""Block-wise masks: the counts and rates of BEiT's sheet, and rows that stand alone."""

from __future__ import annotations

import numpy as np
import pytest

from mimflow.draw import Draw
from mimflow.masks import rectangles
from mimflow.masks.blockwise import block_masks

GRID, HIDDEN, SMALLEST = (14, 14), 75, 16


def drawn(count: int, exactly: bool, seed: int = 0) -> np.ndarray:
    masks = block_masks(
        Draw(np.arange(count), "blocks", seed), GRID, HIDDEN, SMALLEST, None, exactly
    )
    return masks.reshape(-1, *GRID)


@pytest.fixture(scope="module")
def first() -> np.ndarray:
    """20,000 masks of v1, as many as were simulated for the sheet."""
    return drawn(20_000, exactly=False)


def test_v1_hides_at_most_75_and_as_many_as_the_sheet_says(first: np.ndarray) -> None:
    counts = first.sum((1, 2))
    assert counts.max() == HIDDEN and counts.min() >= 55
    # Standard errors of 20,000 masks: 0.007 patches, 0.33 %.
    assert counts.mean() == pytest.approx(74.47, abs=0.03)
    assert (counts == HIDDEN).mean() == pytest.approx(0.666, abs=0.012)


def test_corners_are_rare_the_centre_is_not_and_the_last_row_is_like_the_first(
    first: np.ndarray,
) -> None:
    rates = first.mean(0)
    corners = rates[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners == pytest.approx(np.full(4, 0.04), abs=0.01)
    assert rates[6:8, 6:8].mean() == pytest.approx(0.72, abs=0.01)
    # A bound that excludes the last place would leave the last row and column at zero.
    assert rates[0].mean() == pytest.approx(rates[-1].mean(), rel=0.05)
    assert rates[:, 0].mean() == pytest.approx(rates[:, -1].mean(), rel=0.05)


def test_v2_hides_exactly_75_and_keeps_every_block() -> None:
    exact, most = drawn(2000, exactly=True), drawn(2000, exactly=False)
    assert (exact.sum((1, 2)) == HIDDEN).all()
    assert (exact >= most).all()
    full = most.sum((1, 2)) == HIDDEN
    assert np.array_equal(exact[full], most[full])


def test_every_block_is_smaller_than_the_grid_and_adds_what_is_left_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, blocks = rectangles._add, []

    def watched(
        mask: np.ndarray, most: np.ndarray, smallest: float, numbers: np.ndarray
    ) -> np.ndarray:
        before = mask.copy()
        added = real(mask, most, smallest, numbers)
        blocks.extend(zip(mask & ~before, added, most, strict=True))
        return added

    monkeypatch.setattr(rectangles, "_add", watched)
    masks = drawn(300, exactly=False)
    assert len(blocks) / len(masks) == pytest.approx(4.1, abs=0.6)  # the last one may find none
    for new, added, most in blocks:
        assert added == (new.sum() > 0) and new.sum() <= most
        if added:
            rows, columns = np.flatnonzero(new.any(1)), np.flatnonzero(new.any(0))
            assert max(np.ptp(rows), np.ptp(columns)) + 1 <= 13


def test_a_largest_block_bounds_what_one_block_adds() -> None:
    masks = block_masks(Draw(np.arange(500), "x"), GRID, HIDDEN, SMALLEST, 20, False)
    few = block_masks(Draw(np.arange(500), "x"), GRID, 20, SMALLEST, 20, False)
    assert masks.sum(1).max() <= HIDDEN and few.sum(1).max() <= 20


def test_a_row_depends_on_its_own_number_alone() -> None:
    whole = drawn(50, exactly=True)
    part = block_masks(Draw(np.arange(20, 30), "blocks", 0), GRID, HIDDEN, SMALLEST, None, True)
    assert np.array_equal(part.reshape(-1, *GRID), whole[20:30])
    assert not np.array_equal(drawn(50, exactly=True, seed=1), whole)


def test_the_small_grid_of_a_cpu_run_hides_about_25_of_64() -> None:
    masks = block_masks(Draw(np.arange(4000), "x"), (8, 8), 25, 6, None, False)
    assert masks.sum(1).max() == 25
    assert masks.sum(1).mean() == pytest.approx(24.9, abs=0.1)
