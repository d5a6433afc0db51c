"""Records whose bytes are asked for before their turn: a distant store answers many at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from mimflow.data.readers.record import Record

_TOGETHER = 16  # requests under way; each may hold max_bytes


def ahead(
    records: Iterable[Record], max_bytes: int, distant: bool
) -> Iterator[tuple[Record, Callable[[], bytes]]]:
    """The records in their order, each with what gives its bytes or raises what reading raised."""
    if not distant:
        for record in records:
            yield record, lambda record=record: record.data(max_bytes)  # type: ignore[misc]
        return
    waiting: deque[tuple[Record, Future[bytes]]] = deque()
    with ThreadPoolExecutor(_TOGETHER) as pool:
        for record in records:
            waiting.append((record, pool.submit(record.data, max_bytes)))
            if len(waiting) > _TOGETHER:
                first, found = waiting.popleft()
                yield first, found.result
        for first, found in waiting:
            yield first, found.result
