"""Pictures in Parquet tables: a column of bytes, or of {bytes, path} as the hubs write them.

One file, or a folder of them whose names or folders say the split (train-00000-of-00004.parquet). A
row group is read once, when its first record is asked for: its pictures go to a file without a name
that vanishes with the process (in TMPDIR), and memory holds one row group at most.
"""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mimflow.data.readers.files import Files, check_size, suffix
from mimflow.data.readers.labels import numbered
from mimflow.data.readers.layout import split_in
from mimflow.data.readers.record import Record, Source, Wanted, in_order

_IMAGES = ("image", "img", "jpg", "jpeg", "png", "picture", "bytes", "image_bytes")
_LABELS = ("label", "labels", "class", "category", "target", "cls", "fine_label")


class _Table(NamedTuple):
    """One file: the column of its pictures, of its labels (None: there is none), its split."""

    stem: str
    split: str | None
    file: pq.ParquetFile
    image: str
    label: str | None
    names: list[str] | None


def parquet_source(files: Files, wanted: Wanted) -> Source | None:
    """The rows of every .parquet file, or None where there is none."""
    places = [i for i, name in enumerate(files.names) if suffix(name) == ".parquet"]
    if not places or files.ranged is None:
        return None
    tables = [_open(files, i) for i in places]
    rows = sorted(
        (f"{table.stem}/{row:08d}", number, row)
        for number, table in enumerate(tables)
        for row in range(table.file.metadata.num_rows)
    )
    columns = [_labels(table) for table in tables]
    values = [columns[number][row] for _, number, row in rows]
    labels, label_names = numbered(values, _given(tables))
    spool = _Spool(tables)

    def read(positions: Iterable[int]) -> Iterator[Record]:
        for i in positions:
            name, number, row = rows[i]
            yield Record(name, tables[number].split, labels[i], partial(spool.read, number, row))

    return Source(
        kind="parquet",
        encoding="file",
        label_names=label_names,
        names=[name for name, _, _ in rows],
        split_of=lambda i: tables[rows[i][1]].split,
        read=read,
        splits=in_order(table.split for table in tables),
        ignored=dict(files.ignored),
        identity=files.identity,
    )


def _open(files: Files, place: int) -> _Table:
    name = files.names[place]
    assert files.ranged is not None
    with _damage(f"data.source: {name!r} is no sound Parquet file"):
        file = pq.ParquetFile(files.ranged(place).stream())
    if file.metadata.num_rows > files.size(place):  # a picture has a byte at least
        raise ValueError(f"data.source: {name!r} claims {file.metadata.num_rows} rows")
    schema = file.schema_arrow
    image = _image_column(schema, name)
    label = next(
        (n for n in _LABELS if n in schema.names and _is_label(schema.field(n).type)), None
    )
    names = _class_names(schema, label) if label else None
    return _Table(name.removesuffix(".parquet"), split_in(name), file, image, label, names)


def _image_column(schema: pa.Schema, name: str) -> str:
    found = [field.name for field in schema if _holds_bytes(field.type)]
    named = [n for n in _IMAGES if n in found]
    if named:
        return named[0]
    if len(found) != 1:
        raise ValueError(
            f"data.source: {name!r}: {len(found)} columns hold bytes ({', '.join(schema.names)});"
            f" the one of the pictures must be called {', '.join(_IMAGES[:3])} or stand alone"
        )
    return found[0]


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_bytes(kind.field(at).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_label(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """The names that hubs keep in the schema's metadata for a column of class numbers."""
    try:
        facts = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = facts["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    return [str(name) for name in names]


def _given(tables: list[_Table]) -> list[str] | None:
    found = {tuple(table.names) for table in tables if table.names}
    if len(found) > 1:
        raise ValueError("data.source: the Parquet files name their classes differently")
    return list(found.pop()) if found else None


def _labels(table: _Table) -> list[int | str | None]:
    if table.label is None:
        return [None] * table.file.metadata.num_rows
    with _damage(f"data.source: the labels of {table.stem!r} are damaged"):
        values: list[int | str | None] = table.file.read([table.label])[table.label].to_pylist()
    if len(values) != table.file.metadata.num_rows:
        raise ValueError(f"data.source: {table.stem!r} has {len(values)} labels")
    return values


@contextmanager
def _damage(where: str) -> Iterator[None]:
    """What Arrow raises at damaged bytes is a ValueError; what may pass stays an OSError."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{where} ({reason})") from error


class _Spool:
    """The pictures of the row groups read so far, one after the other in a nameless file."""

    def __init__(self, tables: list[_Table]):
        self.tables = tables
        self.groups = [_first_rows(table.file) for table in tables]
        self.ends: dict[tuple[int, int], tuple[int, np.ndarray]] = {}
        fd, path = tempfile.mkstemp()
        os.unlink(path)  # noqa: PTH108 (a string of the system)
        self.fd, self.size = fd, 0
        self.lock = Lock()  # records may be asked for by several threads
        weakref.finalize(self, os.close, fd)

    def read(self, number: int, row: int, most: int) -> bytes:
        group = int(np.searchsorted(self.groups[number], row, "right")) - 1
        with self.lock:
            if (number, group) not in self.ends:
                self._add(number, group)
        start, ends = self.ends[number, group]
        at = row - int(self.groups[number][group])
        size = int(ends[at + 1] - ends[at])
        check_size(size, most)
        if not size:
            raise ValueError("no bytes in this row")
        return os.pread(self.fd, size, start + int(ends[at]))

    def _add(self, number: int, group: int) -> None:
        table = self.tables[number]
        with _damage(f"row group {group} of {table.stem!r} is damaged"):
            column = table.file.read_row_group(group, columns=[table.image])[table.image]
        ends, start = [0], self.size
        for chunk in column.chunks:
            for cell in _bytes(chunk):
                data: Any = cell.as_buffer() if cell.is_valid else b""
                self.size += os.pwrite(self.fd, data, self.size)
                ends.append(self.size - start)
        rows = table.file.metadata.row_group(group).num_rows
        if len(ends) != rows + 1:
            raise ValueError(
                f"row group {group} of {table.stem!r} has {len(ends) - 1} of {rows} rows"
            )
        self.ends[number, group] = start, np.array(ends, np.int64)


def _bytes(chunk: pa.Array) -> pa.Array:
    return chunk.field("bytes") if pa.types.is_struct(chunk.type) else chunk


def _first_rows(file: pq.ParquetFile) -> np.ndarray:
    """Number of the first row of each row group."""
    counts = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    return np.cumsum([0, *counts[:-1]])
