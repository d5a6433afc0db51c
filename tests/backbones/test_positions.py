"""Fixed positions equal the reference tables."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mimflow.backbones.positions import sincos


@pytest.mark.parametrize(
    ("key", "width", "grid"),
    [("grid3_dim16_cls", 16, 3), ("grid4_dim32_cls", 32, 4), ("grid14_dim64_cls", 64, 14)],
)
def test_tables_equal_the_reference(golden: Any, key: str, width: int, grid: int) -> None:
    torch.testing.assert_close(
        sincos(width, (grid, grid)), golden("sincos")[key], rtol=0, atol=1e-7
    )


def test_rows_of_the_large_table_equal_the_reference(golden: Any) -> None:
    rows = sincos(768, (14, 14))[[0, 1, 2, 15, 16, 100, 196]]
    torch.testing.assert_close(rows, golden("sincos")["grid14_dim768_rows"], rtol=0, atol=1e-7)


def test_a_rectangle_has_h_rows_of_w_columns() -> None:
    table = sincos(16, (2, 5), prefix=0).reshape(2, 5, 16)
    assert torch.equal(table[0, :, :8], table[1, :, :8])  # the first half tells the column
    assert torch.equal(table[:, 0, 8:], table[:, 4, 8:])  # the second the row


def test_a_width_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="divisible by 4, not 10"):
        sincos(10, (2, 2))
