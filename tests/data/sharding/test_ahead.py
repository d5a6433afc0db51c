"""Reading ahead changes neither the order nor what is raised."""

from __future__ import annotations

import time

import pytest

from mimflow.data.readers.record import Record
from mimflow.data.sharding.ahead import ahead


def load(i: int, most: int) -> bytes:
    time.sleep(0.001 * (i % 3))  # the later one may come first
    if i % 7 == 3:
        raise ValueError(f"record {i} of at most {most}")
    return bytes([i])


@pytest.mark.parametrize("distant", [False, True])
@pytest.mark.parametrize("count", [0, 1, 16, 17, 50])
def test_records_come_in_order_with_their_own_bytes_or_errors(count: int, distant: bool) -> None:
    records = [Record(str(i), None, -1, lambda most, i=i: load(i, most)) for i in range(count)]
    found = list(ahead(records, 9, distant))
    assert [record.name for record, _ in found] == [str(i) for i in range(count)]
    for i, (_, data) in enumerate(found):
        if i % 7 == 3:
            with pytest.raises(ValueError, match=f"record {i} of at most 9"):
                data()
        else:
            assert data() == bytes([i])
