"""The format of a shard: one Arrow IPC file with one record batch, memory-mapped when read.

A record's shard is a hash of its name, so any number of jobs makes the same shards. Its rows stand
in the order of the splits, then of the names: each split is one range of rows.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import pyarrow as pa

FORMAT = 1

COLUMNS = {
    "name": pa.string(),
    "label": pa.int32(),
    "height": pa.int32(),
    "width": pa.int32(),
    "image": pa.large_binary(),
    "content": pa.binary(16),  # a hash of the upright pixels: equal for equal pictures
}
ANNOTATIONS = {
    "semantic": pa.large_binary(),  # uint8 (H, W)
    "instances": pa.large_binary(),  # uint8 (H, W)
    "boxes": pa.list_(pa.list_(pa.float32(), 4)),
    "classes": pa.list_(pa.int32()),
    "caption": pa.string(),
}


def shard_of(name: str, num_shards: int) -> int:
    """The same for ever, on every machine."""
    return int(name_share(name, b"shard") * num_shards)


def name_share(name: str, use: bytes) -> float:
    """A number in [0, 1) from the name, another one for each use."""
    digest = blake2b(name.encode(), digest_size=8, person=use).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2**-53


def schema(encoding: str, annotations: tuple[str, ...]) -> pa.Schema:
    columns = COLUMNS | {key: ANNOTATIONS[key] for key in annotations}
    return pa.schema(list(columns.items()), metadata={"encoding": encoding})


def shard_file(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05d}.arrow"


def facts_file(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05d}.json"


def open_batch(path: Path) -> pa.RecordBatch:
    """The rows of a shard, mapped and not read."""
    return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
