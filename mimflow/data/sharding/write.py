"""Records become shards. Part i of N writes every N-th shard, and any N gives the same bytes.

Shards are made one after the other and memory holds one of them. A shard counts as done when its
facts stand beside it, name the same source and parameters, and hash to the same bytes.
"""

from __future__ import annotations

import json
from array import array
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mimflow.data.decode import check_size
from mimflow.data.readers.record import SPLITS, Annotations, Record, Source
from mimflow.data.sharding.ahead import ahead
from mimflow.data.sharding.facts import Facts
from mimflow.data.sharding.format import (
    COLUMNS,
    FORMAT,
    facts_file,
    name_share,
    schema,
    shard_file,
    shard_of,
)
from mimflow.data.sharding.stored import (
    Stored,
    check_fit,
    check_shape,
    pixels_of,
    smaller,
    smaller_annotations,
)
from mimflow.files import canonical, replacing, sha256, write


def write_part(
    source: Source,
    folder: Path,
    part: int,
    parts: int,
    num_shards: int,
    test_fraction: float,
    stored: Stored | int,
) -> None:
    """Write the shards i with i mod parts == part that are not there yet.

    `stored` may be its `max_pixels` alone: pictures as they are found.
    """
    if not 0 <= part < parts:
        raise ValueError(f"part: {part}; allowed: 0 to {parts - 1}")
    stored = Stored(stored) if isinstance(stored, int) else stored
    _refuse_unfit(source, stored)
    folder.mkdir(parents=True, exist_ok=True)
    made = made_from(source, num_shards, test_fraction, stored)
    mine = [i for i in range(part, num_shards, parts) if not _complete(folder, i, made)]
    positions = {shard: array("q") for shard in mine}
    for position, name in enumerate(source.names):
        shard = shard_of(name, num_shards)
        if shard in positions:
            positions[shard].append(position)
    for shard in mine:
        _write_shard(source, positions.pop(shard), folder, shard, made)


def _refuse_unfit(source: Source, stored: Stored) -> None:
    """Raw pixels and points are stored as they are."""
    if source.encoding != "file" and stored != Stored(stored.max_pixels, stored.max_bytes)._replace(
        quality=stored.quality
    ):
        raise ValueError(
            f"data.short_side {stored.short_side}, channels {stored.channels}, bit_depth"
            f" {stored.bit_depth}: a source of the kind {source.kind} holds no picture files;"
            " allowed: null, 3, 8"
        )


def made_from(
    source: Source, num_shards: int, test_fraction: float, stored: Stored
) -> dict[str, Any]:
    """What the bytes of a shard are a function of."""
    names = blake2b(digest_size=16)
    for name in source.names:
        names.update(name.encode() + b"\n")
    return {
        "format": FORMAT,
        "kind": source.kind,
        "identity": source.identity,
        "label_names": source.label_names,
        "names": names.hexdigest(),
        "num_shards": num_shards,
        "test_fraction": test_fraction,
        "about": source.about,
        "stored": stored._asdict(),
    }


def split_of(source: Source, position: int, test_fraction: float) -> str:
    """The source's split; by a hash of the name (of the group, where records are grouped) where it
    has none, or nothing but train.
    """
    split = source.split_of(position)
    if split is None or source.splits == ("train",):
        unit = source.group_of(position) if source.group_of else source.names[position]
        share = name_share(unit, b"split")
        return "test" if share < test_fraction else "train"
    return split


def _complete(folder: Path, shard: int, made: dict[str, Any]) -> bool:
    facts, rows = facts_file(folder, shard), shard_file(folder, shard)
    if not (facts.exists() and rows.exists()):
        return False
    found = json.loads(facts.read_bytes())
    return found["made"] == made and found["sha256"] == sha256(rows)


def _write_shard(
    source: Source, positions: array[int], folder: Path, shard: int, made: dict[str, Any]
) -> None:
    splits = {i: split_of(source, i, made["test_fraction"]) for i in positions}
    order = sorted(positions, key=lambda i: SPLITS.index(splits[i]))  # names are sorted already
    stored = Stored(**made["stored"])
    facts, rows = Facts(stored.channels), _Rows(source)
    loaded = ahead(source.records(order), stored.max_bytes, source.distant)
    for i, (record, load) in zip(order, loaded, strict=True):
        try:
            found = _looked_at(source, record, load(), stored)
        except ValueError as error:
            facts.quarantined.append({"name": record.name, "reason": str(error)})
            continue
        facts.add(splits[i], record.label, found.values)
        rows.add(record, found)
    path = shard_file(folder, shard)
    with replacing(path) as beside:
        rows.save(beside)
    size = path.stat().st_size
    beside_it = {"made": made, "bytes": size, "sha256": sha256(path), **facts.as_json()}
    write(facts_file(folder, shard), canonical(beside_it))


class _Found(NamedTuple):
    """A sound record: what is stored, its values as an array, a hash of the values as found."""

    data: bytes
    values: np.ndarray
    content: bytes
    extra: Annotations


def _looked_at(source: Source, record: Record, data: bytes, stored: Stored) -> _Found:
    """Whatever is wrong with the record is found here."""
    if not -1 <= record.label < len(source.label_names):
        raise ValueError(f"label {record.label}, but there are {len(source.label_names)} classes")
    values = _values(source, record, data, stored)
    content = _content(values)
    if source.encoding != "file":
        return _Found(data, values, content, record.annotations())
    shape = values.shape[:2]
    check_shape(record.shape, shape)
    extra = record.annotations()
    check_fit(extra, shape)
    data, values = smaller(data, values, stored)
    return _Found(data, values, content, smaller_annotations(extra, shape, values.shape[:2]))


def _values(source: Source, record: Record, data: bytes, stored: Stored) -> np.ndarray:
    """uint8 (H, W, 3), as many channels as asked for, or float32 (P, 3 or 6)."""
    if source.encoding == "file":
        return pixels_of(data, stored)
    assert record.shape is not None
    if source.encoding == "points":
        return np.frombuffer(data, np.dtype("<f4")).reshape(record.shape)
    height, width = record.shape
    check_size(width, height, stored.max_pixels)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _content(values: np.ndarray) -> bytes:
    shape = b"%dx%d" % values.shape[:2]
    return blake2b(np.ascontiguousarray(values).data, digest_size=16, salt=shape).digest()


class _Rows:
    """The columns of a shard while it grows; the images are one buffer, which Arrow takes over."""

    def __init__(self, source: Source) -> None:
        self.schema = schema(source.encoding, source.annotations)
        self.columns: dict[str, list[Any]] = {name: [] for name in self.schema.names}
        self.images = bytearray()
        self.ends = array("q", [0])

    def add(self, record: Record, found: _Found) -> None:
        height, width = found.values.shape[:2]
        row = {"name": record.name, "label": record.label, "height": height, "width": width}
        for name, value in (row | {"content": found.content} | found.extra).items():
            self.columns[name].append(value)
        self.images += found.data
        self.ends.append(len(self.images))

    def save(self, path: Path) -> None:
        buffers = [None, pa.py_buffer(self.ends), pa.py_buffer(self.images)]
        count = len(self.ends) - 1
        image = pa.Array.from_buffers(COLUMNS["image"], count, buffers)
        arrays = [
            image if field.name == "image" else pa.array(self.columns[field.name], field.type)
            for field in self.schema
        ]
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self.schema) as file:
            file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
