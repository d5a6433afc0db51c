"""What a person should know about a data set before training on it.

Counts by split and class, sizes and shapes of the pictures, and exact duplicates: pictures with
equal upright pixels, however their files are written, and the splits that they are in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mimflow.data.readers.record import SPLITS, Source
from mimflow.data.sharding.facts import ranges, total
from mimflow.data.sharding.format import open_batch, shard_file

_LISTED = 1000  # groups of duplicates and sizes that the audit names; the counts are of all
_SIDES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
_ASPECTS = (0.25, 0.5, 0.8, 1.25, 2, 4)


def audit(source: Source, folder: Path, shards: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything but the counts of broken files; a function of the shards and their facts."""
    sizes = total(shards, "sizes")
    sharded = 0 if source.encoding == "points" else sum(sizes.values())  # pictures
    grey = sum(shard["greyscale"] for shard in shards)
    listed = sizes.most_common() if len(sizes) <= _LISTED else _commonest(sizes)
    classes = _classes(source, shards)
    rows = total(shards, "rows")
    return {
        "kind": source.kind,
        "splits": {split: rows[split] for split in SPLITS if split in rows},
        "ignored": source.ignored,
        "classes": classes,
        "classes_in_one_split_only": _alone(classes),
        "sizes": dict(listed),
        "num_sizes": len(sizes),
        **({} if source.encoding == "points" else _shapes(sizes)),
        "greyscale": round(grey / sharded, 6) if sharded else None,
        "duplicates": _duplicates(source, folder, shards),
    }


def _classes(source: Source, shards: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    """Pictures of each class, by split."""
    classes: dict[str, Counter[str]] = {}
    for shard in shards:
        for split, counts in shard["classes"].items():
            for label, count in counts.items():
                name = "(no label)" if label == "-1" else source.label_names[int(label)]
                classes.setdefault(split, Counter())[name] += count
    return classes


def _alone(classes: dict[str, Counter[str]]) -> dict[str, str]:
    """The classes that only one of several splits has, each with its split."""
    if len(classes) < 2:
        return {}
    where: dict[str, list[str]] = {}
    for split, counts in classes.items():
        for name in counts:
            where.setdefault(name, []).append(split)
    return {name: splits[0] for name, splits in where.items() if len(splits) == 1}


def _shapes(sizes: Counter[str]) -> dict[str, dict[str, int]]:
    """Histograms of the short side in pixels and of width over height."""
    sides: Counter[int] = Counter()
    aspects: Counter[int] = Counter()
    for size, count in sizes.items():
        height, width = map(int, size.split("x"))
        sides[bisect_right(_SIDES, min(height, width))] += count
        aspects[bisect_right(_ASPECTS, width / height)] += count
    return {
        "short_sides": {_bin(_SIDES, i): sides[i] for i in sorted(sides)},
        "aspects": {_bin(_ASPECTS, i): aspects[i] for i in sorted(aspects)},
    }


def _bin(edges: tuple[float, ...], i: int) -> str:
    """The i-th of the ranges between the edges, in words."""
    if i == 0:
        return f"under {edges[0]:g}"
    return f"from {edges[i - 1]:g}" + (f" to under {edges[i]:g}" if i < len(edges) else "")


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
    places = ranges(shards[shard]["rows"])
    split = next(s for s, (first, count) in places.items() if first <= row < first + count)
    label = batch.column("label")[row].as_py()
    name = "(no label)" if label < 0 else source.label_names[label]
    return batch.column("name")[row].as_py(), split, name
