"""Shapes as clouds of points: a folder or archive of meshes and clouds, or one .npz of them all.

A mesh (.off, .obj, .ply with faces) is sampled evenly by area, the same for each name; a cloud
(.ply without faces, .npz with `points` and perhaps `normals`) keeps its points. Splits and classes
are those of the folders. A single .npz holds `train_points` (n, P, 3 or 6) and, beside it,
`train_labels`, `train_names`; the same for val and test; and `class_names`. Coordinates are stored
as they are: centring and scaling belong to the views.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from mimflow.data.meshes import Mesh, parse_obj, parse_off, sample, thin
from mimflow.data.ply import parse_ply
from mimflow.data.readers.files import MAX_BYTES, Files, check_size, suffix
from mimflow.data.readers.images import is_image
from mimflow.data.readers.layout import common, layout_of
from mimflow.data.readers.record import SPLITS, Record, Source, Wanted, in_order

_MESHES: dict[str, Callable[[bytes], Mesh]] = {
    ".off": parse_off,
    ".obj": parse_obj,
    ".ply": parse_ply,
}


def point_source(files: Files, wanted: Wanted) -> Source | None:
    """Every mesh and cloud; None where there is none, or (recognising) pictures beside them."""
    places = [i for i, name in enumerate(files.names) if _is_shape(name)]
    if not places or (wanted.kind == "auto" and any(map(is_image, files.names))):
        return None
    if len(files.names) == 1 and suffix(files.names[0]) == ".npz":
        arrays = _arrays(files.read(0))
        if any(f"{split}_points" in arrays for split in SPLITS):
            return _one_file(arrays, files, wanted)
    ignored = Counter(files.ignored)
    ignored.update(suffix(name) for name in files.names if not _is_shape(name))
    names = [files.names[i] for i in places]
    below = common(names)
    names = [name[below:] for name in names] if below else names
    layout = layout_of(names)
    shape = (wanted.num_points, 6 if wanted.normals else 3)

    def read(positions: Iterable[int]) -> Iterator[Record]:
        for i in positions:
            name, load = names[i], partial(_load, files, places[i], names[i], wanted)
            yield Record(name, layout.split_of(name), layout.label_of(name), load, shape)

    return Source(
        kind="points" + files.within,
        encoding="points",
        label_names=list(layout.classes),
        names=names,
        split_of=lambda i: layout.split_of(names[i]),
        read=read,
        splits=layout.splits(names),
        ignored=dict(ignored),
        identity=files.identity,
    )


def _is_shape(name: str) -> bool:
    return suffix(name) in (*_MESHES, ".npz")


def _load(files: Files, place: int, name: str, wanted: Wanted, most: int) -> bytes:
    data = files.read(place, most)
    parse = _MESHES.get(suffix(name))
    if parse is None:
        return _cloud(_arrays(data), name, wanted)
    try:
        mesh = parse(data)
    except (IndexError, OverflowError) as error:
        raise ValueError(f"the mesh is damaged ({error})") from error
    if len(mesh.faces):
        found = sample(mesh, wanted.num_points, name)  # (P, 6)
        return found[:, : 6 if wanted.normals else 3].tobytes()
    return _kept(mesh.points, mesh.normals, name, wanted)


def _cloud(arrays: dict[str, np.ndarray], name: str, wanted: Wanted) -> bytes:
    if "points" not in arrays:
        raise ValueError(f"no array `points` (n, 3); found: {', '.join(sorted(arrays))[:100]}")
    points = arrays["points"]
    if points.ndim != 2 or points.shape[1] not in (3, 6):
        raise ValueError(f"`points` has the shape {points.shape}; allowed: (n, 3) and (n, 6)")
    return _kept(points[:, :3], arrays.get("normals", points[:, 3:]), name, wanted)


def _kept(points: np.ndarray, normals: np.ndarray | None, name: str, wanted: Wanted) -> bytes:
    values = points
    if wanted.normals:
        if normals is None or normals.shape != points.shape:
            raise ValueError("no normals (data.normals is true)")
        values = np.concatenate([points, normals], 1)
    if not np.isfinite(values).all():
        raise ValueError("a coordinate is not finite")
    found = thin(values, wanted.num_points, name)
    return np.ascontiguousarray(found, np.dtype("<f4")).tobytes()


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of an .npz; nothing pickled is loaded, and no more inflated than is allowed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            check_size(sum(member.file_size for member in packed.infolist()), MAX_BYTES)
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except Exception as error:  # hostile bytes may make either reader raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0][:150]
        raise ValueError(f"no .npz of plain arrays ({reason})") from error


def _one_file(arrays: dict[str, Any], files: Files, wanted: Wanted) -> Source:
    """The clouds of `<split>_points`, named by `<split>_names` where these differ."""
    rows: list[tuple[str, str, int, int]] = []  # name, split, row, label
    for split in SPLITS:
        if f"{split}_points" not in arrays:
            continue
        count = len(arrays[f"{split}_points"])
        names = [str(name) for name in arrays.get(f"{split}_names", range(count))]
        labels = arrays.get(f"{split}_labels", np.full(count, -1))
        if len(names) != count or len(labels) != count:
            raise ValueError(f"data.source: {split}_points, _labels and _names differ in length")
        if len(set(names)) < count:
            names = [f"{i:08d}" for i in range(count)]
        rows += [(f"{split}/{names[i]}", split, i, int(labels[i])) for i in range(count)]
    rows.sort()
    shape = (wanted.num_points, 6 if wanted.normals else 3)
    most = max((label for *_, label in rows), default=-1)
    given = [str(name) for name in arrays.get("class_names", range(most + 1))]

    def load(name: str, split: str, row: int, most: int) -> bytes:
        return _cloud({"points": arrays[f"{split}_points"][row]}, name, wanted)

    def read(positions: Iterable[int]) -> Iterator[Record]:
        for i in positions:
            name, split, row, label = rows[i]
            yield Record(name, split, label, partial(load, name, split, row), shape)

    return Source(
        kind="points",
        encoding="points",
        label_names=given,
        names=[name for name, *_ in rows],
        split_of=lambda i: rows[i][1],
        read=read,
        splits=in_order(split for _, split, _, _ in rows),
        ignored=dict(files.ignored),
        identity=files.identity,
    )
