"""The format of a shard: one Arrow IPC file with one record batch, memory-mapped when read.

A record's shard is a hash of its name, so any number of jobs makes the same shards. Its rows stand
in the order of the splits, then of the names: each split is one range of rows.

`encoding` (in the schema's metadata and the index) says what `image` holds: a picture's file
("file"), uint8 (height, width, 3) ("raw"), or points as little-endian float32 (height, width)
("points": height is their number, width 3 for x y z, 6 with their normals).
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
    "semantic": pa.large_binary(),  # uint8 (H, W): the class of each pixel
    "semantic_png": pa.large_binary(),  # the same as a PNG of one channel
    "instances": pa.large_binary(),  # uint8 (H, W): the number of the object, from 1
    "boxes": pa.list_(pa.list_(pa.float32(), 4)),  # (K, 4): x0 y0 x1 y1, edges of pixels
    "classes": pa.list_(pa.int32()),  # (K,): class of each box
    "crowd": pa.list_(pa.bool_()),  # (K,): the box holds many, and does not count as a miss
    "segments": pa.list_(pa.binary()),  # (K,): mask of each box, COCO's compressed run lengths
    "caption": pa.string(),
    "group": pa.string(),  # what no split may tear apart
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
