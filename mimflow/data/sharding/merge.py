"""The facts of all shards become two files: the index for readers, the audit for people.

Both are functions of the facts alone, which are whole numbers: no order or number of parts shows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from mimflow.data.readers.record import SPLITS, Source
from mimflow.data.sharding.format import FORMAT, facts_file, open_batch, shard_file
from mimflow.data.sharding.write import made_from
from mimflow.files import canonical, write

_LISTED = 1000  # groups of duplicates and sizes that the audit names; the counts are of all


def merge(
    source: Source,
    folder: Path,
    out_index: Path,
    out_audit: Path,
    num_shards: int,
    max_bad_fraction: float,
) -> None:
    """Write the index and the audit; a ValueError if too many files could not be read."""
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
    index = counts | _index(source, shards)
    audit = counts | _audit(source, shards) | {"broken": quarantined}
    audit["duplicates"] = _duplicates(source, folder, shards)
    write(out_audit, canonical(audit))
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
            expected = made_from(source, num_shards, made["test_fraction"], made["max_pixels"])
        if made != expected:
            raise ValueError(f"shard {i} was made from another source or with other parameters")
    return found


def _index(source: Source, shards: list[dict[str, Any]]) -> dict[str, Any]:
    splits = _sum(shards, "rows")
    held_out = "val" if "val" in source.splits and "test" not in source.splits else "test"
    mean, std = _moments(shards)
    return {
        "format": FORMAT,
        "kind": source.kind,
        "encoding": source.encoding,
        "label_names": source.label_names,
        "annotations": source.annotations,
        "held_out": held_out,
        "mean": mean,
        "std": std,
        "splits": {split: splits[split] for split in SPLITS if split in splits},
        "shards": [
            {
                "file": shard_file(Path(), i).name,
                "sha256": shard["sha256"],
                "bytes": shard["bytes"],
                "splits": _ranges(shard["rows"]),
            }
            for i, shard in enumerate(shards)
        ],
    }


def _ranges(rows: dict[str, int]) -> dict[str, list[int]]:
    """The first row and the number of rows of each split of a shard."""
    ranges, first = {}, 0
    for split in SPLITS:
        if split in rows:
            ranges[split] = [first, rows[split]]
            first += rows[split]
    return ranges


def _sum(shards: list[dict[str, Any]], key: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for shard in shards:
        total.update(shard[key])
    return total


def _moments(shards: list[dict[str, Any]]) -> tuple[list[float] | None, list[float] | None]:
    """Mean and standard deviation of each channel over all train pixels, in [0, 1]."""
    pixels = sum(shard["pixels"] for shard in shards)
    if not pixels:
        return None, None
    total = [[sum(s["sums"][power][c] for s in shards) for c in range(3)] for power in range(2)]
    mean = [round(total[0][c] / (255 * pixels), 6) for c in range(3)]
    # whole numbers until the end: the difference of two large squares loses nothing
    spread = [pixels * total[1][c] - total[0][c] ** 2 for c in range(3)]
    return mean, [round(sqrt(value) / (255 * pixels), 6) for value in spread]


def _audit(source: Source, shards: list[dict[str, Any]]) -> dict[str, Any]:
    classes: dict[str, Counter[str]] = {}
    for shard in shards:
        for split, counts in shard["classes"].items():
            for label, count in counts.items():
                name = "(no label)" if label == "-1" else source.label_names[int(label)]
                classes.setdefault(split, Counter())[name] += count
    sizes = _sum(shards, "sizes")
    listed = sizes.most_common() if len(sizes) <= _LISTED else _commonest(sizes)
    sharded = sum(sizes.values())
    return {
        "kind": source.kind,
        "ignored": source.ignored,
        "classes": classes,
        "sizes": dict(listed),
        "num_sizes": len(sizes),
        "greyscale": round(sum(s["greyscale"] for s in shards) / sharded, 6) if sharded else None,
    }


def _commonest(sizes: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent sizes; which of two equally frequent ones must not depend on the order."""
    return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:_LISTED]


def _duplicates(source: Source, folder: Path, shards: list[dict[str, Any]]) -> dict[str, Any]:
    """Pictures with equal pixels, and the splits that they are in."""
    groups, crossing, extra = [], 0, 0
    for rows in _equal_rows(folder, len(shards)):
        found = sorted(_describe(source, folder, shards, shard, row) for shard, row in rows)
        names, splits, labels = zip(*found, strict=True)
        present = [split for split in SPLITS if split in splits]
        crossing += len(present) > 1
        extra += len(rows) - 1
        groups.append({"names": names, "splits": present, "labels": sorted(set(labels))})
    groups.sort(key=lambda group: (-len(group["splits"]), group["names"]))
    return {
        "groups": len(groups),
        "extra_copies": extra,
        "groups_across_splits": crossing,
        "listed": groups[:_LISTED],
    }


def _equal_rows(folder: Path, num_shards: int) -> Iterator[list[tuple[int, int]]]:
    """Groups of (shard, row) of equal content."""
    contents, places = [np.zeros((0, 2), np.uint64)], [np.zeros((0, 2), np.int64)]
    for shard in range(num_shards):
        column = open_batch(shard_file(folder, shard)).column("content")
        if len(column):
            values = np.frombuffer(column.buffers()[1], np.uint64, 2 * len(column)).reshape(-1, 2)
            contents.append(values)
            places.append(np.stack([np.full(len(column), shard), np.arange(len(column))], 1))
    content, place = np.concatenate(contents), np.concatenate(places)
    order = np.lexsort((content[:, 1], content[:, 0]))
    content, place = content[order], place[order]
    same = (content[1:] == content[:-1]).all(1)  # each row, as the one before?
    bounds = np.flatnonzero(np.concatenate([[True], ~same, [True]]))
    for group in np.flatnonzero(np.diff(bounds) > 1):
        rows = place[bounds[group] : bounds[group + 1]]
        yield [(int(shard), int(row)) for shard, row in rows]


def _describe(
    source: Source, folder: Path, shards: list[dict[str, Any]], shard: int, row: int
) -> tuple[str, str, str]:
    """Name, split and label name of a row."""
    batch = open_batch(shard_file(folder, shard))
    ranges = _ranges(shards[shard]["rows"])
    split = next(s for s, (first, count) in ranges.items() if first <= row < first + count)
    label = batch.column("label")[row].as_py()
    name = "(no label)" if label < 0 else source.label_names[label]
    return batch.column("name")[row].as_py(), split, name
