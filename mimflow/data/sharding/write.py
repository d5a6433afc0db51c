"""Records become shards. Part i of N writes every N-th shard, and any N gives the same bytes.

Shards are made one after the other and memory holds one of them. A shard counts as done when its
facts stand beside it, name the same source and parameters, and hash to the same bytes.
"""

from __future__ import annotations

import json
from array import array
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mimflow.data.decode import check_size, decode
from mimflow.data.readers.record import SPLITS, Record, Source
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
from mimflow.files import canonical, replacing, sha256, write


def write_part(
    source: Source,
    folder: Path,
    part: int,
    parts: int,
    num_shards: int,
    test_fraction: float,
    max_pixels: int,
) -> None:
    """Write the shards i with i mod parts == part that are not there yet."""
    if not 0 <= part < parts:
        raise ValueError(f"part: {part}; allowed: 0 to {parts - 1}")
    folder.mkdir(parents=True, exist_ok=True)
    made = made_from(source, num_shards, test_fraction, max_pixels)
    mine = [i for i in range(part, num_shards, parts) if not _complete(folder, i, made)]
    positions = {shard: array("q") for shard in mine}
    for position, name in enumerate(source.names):
        shard = shard_of(name, num_shards)
        if shard in positions:
            positions[shard].append(position)
    for shard in mine:
        _write_shard(source, positions.pop(shard), folder, shard, made)


def made_from(
    source: Source, num_shards: int, test_fraction: float, max_pixels: int
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
        "max_pixels": max_pixels,
    }


def split_of(source: Source, position: int, test_fraction: float) -> str:
    """The source's split; by a hash of the name where it has none, or nothing but train."""
    split = source.split_of(position)
    if split is None or source.splits == ("train",):
        share = name_share(source.names[position], b"split")
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
    facts, rows = Facts(), _Rows(source)
    for i, record in zip(order, source.records(order), strict=True):
        try:
            data = record.data()
            pixels = _pixels(source, record, data, made["max_pixels"])
        except ValueError as error:
            facts.quarantined.append({"name": record.name, "reason": str(error)})
            continue
        facts.add(splits[i], record.label, pixels)
        rows.add(record, data, pixels)
    path = shard_file(folder, shard)
    with replacing(path) as beside:
        rows.save(beside)
    size = path.stat().st_size
    found = {"made": made, "bytes": size, "sha256": sha256(path), **facts.as_json()}
    write(facts_file(folder, shard), canonical(found))


def _pixels(source: Source, record: Record, data: bytes, max_pixels: int) -> np.ndarray:
    """uint8 (H, W, 3); whatever is wrong with the record is found here."""
    if not -1 <= record.label < len(source.label_names):
        raise ValueError(f"label {record.label}, but there are {len(source.label_names)} classes")
    if source.encoding == "file":
        return decode(data, max_pixels)
    assert record.shape is not None
    height, width = record.shape
    check_size(width, height, max_pixels)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


class _Rows:
    """The columns of a shard while it grows; the images are one buffer, which Arrow takes over."""

    def __init__(self, source: Source) -> None:
        self.schema = schema(source.encoding, source.annotations)
        self.columns: dict[str, list[Any]] = {name: [] for name in self.schema.names}
        self.images = bytearray()
        self.ends = array("q", [0])

    def add(self, record: Record, data: bytes, pixels: np.ndarray) -> None:
        height, width, _ = pixels.shape
        shape = b"%dx%d" % (height, width)
        content = blake2b(np.ascontiguousarray(pixels).data, digest_size=16, salt=shape)
        row = {"name": record.name, "label": record.label, "height": height, "width": width}
        for name, value in (row | {"content": content.digest()} | record.extra).items():
            self.columns[name].append(value)
        self.images += data
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
