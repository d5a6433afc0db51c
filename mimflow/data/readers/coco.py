"""COCO's JSON: boxes, polygons and run lengths beside pictures in folders or an archive.

One JSON file for each split, told by its name (instances_train.json) or by the folder that it is
in; a picture is found by its `file_name`. Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from mimflow.data.readers.files import Files, suffix
from mimflow.data.readers.images import is_image
from mimflow.data.readers.layout import SPELLINGS
from mimflow.data.readers.masks import about_masks, mask_places, read_mask
from mimflow.data.readers.record import Annotations, Record, Source, Wanted, in_order
from mimflow.data.readers.runlengths import run_lengths

_ALWAYS = ("boxes", "classes", "crowd")


class _Picture(NamedTuple):
    """One entry of `images`, with its annotations; `place` is -1 where the file is missing."""

    name: str
    place: int
    split: str | None
    shape: tuple[int, int]
    found: list[dict[str, Any]]


def coco_source(files: Files, wanted: Wanted) -> Source | None:
    """The pictures that the JSON files list; None where no JSON file is COCO's."""
    tables = _tables(files, wanted)
    if not tables:
        return None
    ids, pictures = _contents(files, tables)
    number = {category: i for i, category in enumerate(ids)}
    segments = any("segmentation" in each for p in pictures for each in p.found)
    masks = mask_places(files)
    semantic = bool(pictures) and all(picture.name in masks for picture in pictures)
    about: dict[str, Any] = {"categories": list(ids.values()), "category_ids": list(ids)}
    if semantic:
        about["semantic"] = about_masks(files, wanted)

    def extra(picture: _Picture) -> Annotations:
        found = _annotations(picture, number, segments)
        if semantic:
            found["semantic_png"] = read_mask(files, masks[picture.name], about["semantic"])
        return found

    def read(positions: Iterable[int]) -> Iterator[Record]:
        for i in positions:
            p = pictures[i]
            load = partial(_load, files, p)
            yield Record(p.name, p.split, -1, load, p.shape, partial(extra, p))

    return Source(
        kind="coco" + files.within,
        encoding="file",
        label_names=[],
        names=[picture.name for picture in pictures],
        split_of=lambda i: pictures[i].split,
        read=read,
        splits=in_order(picture.split for picture in pictures),
        annotations=(*_ALWAYS, *["segments"] * segments, *["semantic_png"] * semantic),
        ignored=_ignored(files, [t for t, _ in tables], pictures, masks if semantic else {}),
        identity=files.identity,
        about=about,
    )


def _tables(files: Files, wanted: Wanted) -> list[tuple[str, dict[str, Any]]]:
    """Name and content of the JSON files that hold images and their instances."""
    found = []
    for i, name in enumerate(files.names):
        folders, base = name.lower().split("/")[:-1], name.lower().rpartition("/")[2]
        likely = "annotations" in folders or base.startswith(("instances", "_annotations"))
        if suffix(name) != ".json" or not (likely or wanted.kind == "coco"):
            continue
        try:
            table = json.loads(files.read(i))
        except ValueError as error:
            raise ValueError(f"data.source: {name!r} is no sound JSON: {error}") from error
        if isinstance(table, dict) and _has_instances(table):
            found.append((name, table))
    preferred = [entry for entry in found if "instances" in entry[0].rpartition("/")[2].lower()]
    return preferred or found


def _contents(
    files: Files, tables: list[tuple[str, dict[str, Any]]]
) -> tuple[dict[int, str], list[_Picture]]:
    """The categories and the pictures, by name, of all tables."""
    try:
        ids = _categories([table for _, table in tables])
        pictures = [p for name, table in tables for p in _pictures(files, name, table)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"data.source: {tables[0][0]!r} is not of COCO's form: an image needs id, file_name,"
            " height and width, an annotation image_id and category_id, a category id and name"
            f" ({type(error).__name__}: {error})"
        ) from error
    pictures.sort(key=lambda picture: picture.name)
    twice = next((a.name for a, b in itertools.pairwise(pictures) if a.name == b.name), None)
    if twice:
        raise ValueError(f"data.source: picture {twice!r} is annotated twice")
    return ids, pictures


def _has_instances(table: dict[str, Any]) -> bool:
    lists = [table.get(key) for key in ("images", "annotations", "categories")]
    if not all(isinstance(entries, list) for entries in lists) or not lists[0]:
        return False
    first = (lists[1] or [{}])[0]
    return isinstance(first, dict) and ("bbox" in first or not first)


def _categories(tables: list[dict[str, Any]]) -> dict[int, str]:
    """Name of each category by its sorted id: the place in this order is the class number."""
    found: dict[int, str] = {}
    for table in tables:
        for entry in table["categories"]:
            name = found.setdefault(entry["id"], str(entry["name"]))
            if name != entry["name"]:
                raise ValueError(
                    f"data.source: category {entry['id']} is {name!r} and {entry['name']!r}"
                )
    return dict(sorted(found.items()))


def _pictures(files: Files, table_name: str, table: dict[str, Any]) -> Iterator[_Picture]:
    split = _split(table_name)
    by_image: dict[Any, list[dict[str, Any]]] = {}
    for entry in table["annotations"]:
        by_image.setdefault(entry["image_id"], []).append(entry)
    where: dict[str, list[int]] = {}
    for i, name in enumerate(files.names):
        if is_image(name):
            where.setdefault(name.rpartition("/")[2], []).append(i)
    for entry in table["images"]:
        wanted, shape = str(entry["file_name"]), (int(entry["height"]), int(entry["width"]))
        place = _find(files, where, wanted, split)
        name = wanted if place < 0 else files.names[place]
        yield _Picture(name, place, split, shape, by_image.get(entry["id"], []))


def _split(table_name: str) -> str | None:
    """The split that a word of the name says, as in instances_train2017.json or train/x.json."""
    words = table_name.lower().removesuffix(".json").replace("/", "_").replace("-", "_").split("_")
    plain = [word.rstrip("0123456789") for word in reversed(words)]
    return next((SPELLINGS[word] for word in plain if word in SPELLINGS), None)


def _find(files: Files, where: dict[str, list[int]], wanted: str, split: str | None) -> int:
    """The place of a picture; of several, the one in a folder named like the split."""
    ends = [i for i in where.get(wanted.rpartition("/")[2], []) if _ends(files.names[i], wanted)]
    if len(ends) > 1 and split:
        ends = [i for i in ends if _split(files.names[i].rpartition("/")[0]) == split] or ends
    if len(ends) > 1:  # masks of the same name may stand beside the pictures
        ends = [i for i in ends if "images" in files.names[i].split("/")] or ends
    if len(ends) > 1:
        raise ValueError(
            f"data.source: {wanted!r} may be {files.names[ends[0]]!r} or {files.names[ends[1]]!r};"
            " write the folder in its file_name"
        )
    return ends[0] if ends else -1


def _ends(name: str, wanted: str) -> bool:
    return f"/{name}".endswith(f"/{wanted}")


def _load(files: Files, picture: _Picture, most: int) -> bytes:
    if picture.place < 0:
        raise ValueError("listed in the annotations, but there is no such file")
    return files.read(picture.place, most)


def _annotations(picture: _Picture, number: dict[int, int], with_segments: bool) -> Annotations:
    """Boxes (K, 4) as corners x0 y0 x1 y1, classes (K,), crowd (K,), run lengths (K,)."""
    boxes, classes, crowd, segments = [], [], [], []
    for entry in picture.found:
        if entry.get("category_id") not in number:
            raise ValueError(
                f"annotation {entry.get('id')}: no category {entry.get('category_id')}"
            )
        try:
            x, y, width, height = map(float, entry["bbox"])
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"annotation {entry.get('id')}: no box of four numbers") from error
        boxes.append([x, y, x + width, y + height])
        classes.append(number[entry["category_id"]])
        crowd.append(bool(entry.get("iscrowd", 0)))
        if with_segments:
            outline = entry.get("segmentation") or {"counts": [picture.shape[0] * picture.shape[1]]}
            try:
                segments.append(run_lengths(outline, picture.shape))
            except ValueError as error:
                raise ValueError(f"annotation {entry.get('id')}: {error}") from error
    found: Annotations = {"boxes": boxes, "classes": classes, "crowd": crowd}
    return found | {"segments": segments} if with_segments else found


def _ignored(
    files: Files, tables: list[str], pictures: list[_Picture], masks: dict[str, int]
) -> dict[str, int]:
    used = {files.names[p.place] for p in pictures if p.place >= 0}
    used |= {*tables, *(files.names[masks[name]] for name in used & masks.keys())}
    ignored = Counter(files.ignored)
    for name in files.names:
        if name not in used:
            ignored[suffix(name) + (" without annotations" if is_image(name) else "")] += 1
    return dict(ignored)
