"""The facts of all shards become two files: the index for readers, the audit for people.

Both are functions of the facts alone, which are whole numbers: no order or number of parts shows.
"""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path
from typing import Any

from mimflow.data.readers.record import SPLITS, Source
from mimflow.data.sharding.audit import audit
from mimflow.data.sharding.facts import ranges, total
from mimflow.data.sharding.format import FORMAT, facts_file, shard_file
from mimflow.data.sharding.stored import Stored
from mimflow.data.sharding.write import made_from
from mimflow.files import canonical, write

Moments = tuple[list[float], list[float]]  # mean and standard deviation of each channel, in [0, 1]


def merge(
    source: Source,
    folder: Path,
    out_index: Path,
    out_audit: Path,
    num_shards: int,
    max_bad_fraction: float,
    moments: Moments | None = None,
) -> None:
    """Write the index and the audit; a ValueError if too many files could not be read. `moments`:
    of each channel, None: those of the training pixels.
    """
    shards = _facts(source, folder, num_shards)
    quarantined = sorted((q for shard in shards for q in shard["quarantined"]), key=_name)
    counts = {
        "found": len(source.names),
        "sharded": sum(sum(shard["rows"].values()) for shard in shards),
        "quarantined": len(quarantined),
    }
    assert counts["found"] == counts["sharded"] + counts["quarantined"]
    if len(quarantined) > max_bad_fraction * counts["found"]:
        first = "; ".join(f"{q['name']!r}: {q['reason']}" for q in quarantined[:3])
        raise ValueError(
            f"data.max_bad_fraction: {len(quarantined)} of {counts['found']} files cannot be read,"
            f" allowed is a share of {max_bad_fraction:g}; the first are {first}"
        )
    index = counts | _index(source, shards, moments)
    seen = audit(source, folder, shards)
    write(out_audit, canonical(counts | seen | {"broken": quarantined}))
    write(out_index, canonical(index))


def _name(quarantined: dict[str, str]) -> str:
    return quarantined["name"]


def _facts(source: Source, folder: Path, num_shards: int) -> list[dict[str, Any]]:
    """What stands beside each shard, after a look whether all are there and of one making."""
    found: list[dict[str, Any]] = []
    expected: dict[str, Any] = {}
    for i in range(num_shards):
        path = facts_file(folder, i)
        if not path.exists():
            raise ValueError(f"shard {i} of {num_shards} has not been written: no {path.name}")
        found.append(json.loads(path.read_bytes()))
        made = found[i]["made"]
        if not expected:
            stored = Stored(**made["stored"])
            expected = made_from(source, num_shards, made["test_fraction"], stored)
        if made != expected:
            raise ValueError(f"shard {i} was made from another source or with other parameters")
    return found


def _index(source: Source, shards: list[dict[str, Any]], moments: Moments | None) -> dict[str, Any]:
    splits = total(shards, "rows")
    stored = Stored(**shards[0]["made"]["stored"])
    held_out = "val" if "val" in source.splits and "test" not in source.splits else "test"
    mean, std = moments or _moments(source, shards) or (None, None)
    return {
        "format": FORMAT,
        "kind": source.kind,
        "encoding": source.encoding,
        "label_names": source.label_names,
        "annotations": source.annotations,
        "about": source.about,
        "channels": stored.channels,
        "bit_depth": stored.bit_depth,
        "held_out": held_out,
        "mean": mean,
        "std": std,
        "splits": {split: splits[split] for split in SPLITS if split in splits},
        "shards": [
            {
                "file": shard_file(Path(), i).name,
                "sha256": shard["sha256"],
                "bytes": shard["bytes"],
                "splits": ranges(shard["rows"]),
            }
            for i, shard in enumerate(shards)
        ],
    }


def _moments(source: Source, shards: list[dict[str, Any]]) -> Moments | None:
    """Of each channel over all train pixels; a channel that never changes has the deviation 1."""
    pixels = sum(shard["pixels"] for shard in shards)
    if not pixels or source.encoding == "points":
        return None
    stored = Stored(**shards[0]["made"]["stored"])
    white = 2**stored.bit_depth - 1
    channels = range(stored.channels)
    sums = [[sum(s["sums"][power][c] for s in shards) for c in channels] for power in range(2)]
    mean = [round(sums[0][c] / (white * pixels), 6) for c in channels]
    # whole numbers until the end: the difference of two large squares loses nothing
    spread = [pixels * sums[1][c] - sums[0][c] ** 2 for c in channels]
    return mean, [round(sqrt(value) / (white * pixels), 6) or 1.0 for value in spread]
