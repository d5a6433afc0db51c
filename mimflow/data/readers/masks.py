"""Pictures with a mask each: images/train/x.jpg beside masks/train/x.png.

The folder of the masks is called masks, labels, annotations or semantic, and stands where `images`
stands in the path. A mask is a PNG of one channel whose values are class numbers, one of which may
mean "ignore". A file `*classes.json` names them: {"ignore_index": 11, "classes": [{"id": 0,
"name": "sky"}, ...]}.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from mimflow.data.decode import decode_mask
from mimflow.data.readers.files import Files, suffix
from mimflow.data.readers.images import is_image
from mimflow.data.readers.layout import split_in
from mimflow.data.readers.record import Annotations, Record, Source, Wanted, in_order

_FOLDERS = ("masks", "labels", "annotations", "semantic")
_IGNORE = 255  # what data sets mean by "ignore" when they do not say


def mask_source(files: Files, wanted: Wanted) -> Source | None:
    """Every picture below a folder `images`; None unless most of them have a mask."""
    masks = mask_places(files)
    places = [i for i, name in enumerate(files.names) if _is_picture(name)]
    found = [masks[files.names[i]] for i in places if files.names[i] in masks]
    if not found or (wanted.kind == "auto" and 2 * len(found) < len(places)):
        return None
    about = about_masks(files, wanted)
    names = [files.names[i] for i in places]
    splits = [split_in(name.rpartition("/")[0] + "/") for name in names]

    def read(positions: Iterable[int]) -> Iterator[Record]:
        for i in positions:
            extra = partial(_mask, files, masks.get(names[i]), about)
            yield Record(names[i], splits[i], -1, partial(files.read, places[i]), extra=extra)

    used = {*places, *found}
    ignored = Counter(files.ignored)
    ignored.update(suffix(name) for i, name in enumerate(files.names) if i not in used)
    return Source(
        kind="masks" + files.within,
        encoding="file",
        label_names=[],
        names=names,
        split_of=lambda i: splits[i],
        read=read,
        splits=in_order(splits),
        annotations=("semantic_png",),
        ignored=dict(ignored),
        identity=files.identity,
        about={"semantic": about},
    )


def mask_places(files: Files) -> dict[str, int]:
    """Name of a picture -> place of its mask."""
    where = {name: i for i, name in enumerate(files.names)}
    found = {}
    for name in filter(_is_picture, files.names):
        parts = name.rpartition(".")[0].split("/")
        at = parts.index("images")
        for folder in _FOLDERS:
            mask = "/".join([*parts[:at], folder, *parts[at + 1 :]]) + ".png"
            if mask in where:
                found[name] = where[mask]
                break
    return found


def about_masks(files: Files, wanted: Wanted) -> dict[str, Any]:
    """Names of the classes, None if no file has them, and the value to ignore."""
    told = [i for i, name in enumerate(files.names) if name.lower().endswith("classes.json")]
    if not told:
        return {
            "classes": None,
            "ignore": _IGNORE if wanted.ignore_value is None else wanted.ignore_value,
        }
    name = files.names[told[0]]
    try:
        facts = json.loads(files.read(told[0]))
        classes = {int(entry["id"]): str(entry["name"]) for entry in facts["classes"]}
        ignore = int(facts.get("ignore_index", _IGNORE))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'data.source: {name!r} is not of the form {{"ignore_index": 255, "classes":'
            f' [{{"id": 0, "name": "sky"}}, ...]}} ({error!r})'
        ) from error
    count = max((number for number in classes if number != ignore), default=-1) + 1
    names = [classes.get(number, str(number)) for number in range(count)]
    return {
        "classes": names,
        "ignore": ignore if wanted.ignore_value is None else wanted.ignore_value,
    }


def read_mask(files: Files, place: int, about: dict[str, Any]) -> bytes:
    """The file of a mask, looked at: a ValueError if it is none or has an unknown value."""
    name, data = files.names[place], files.read(place)
    try:
        values = decode_mask(data)
    except ValueError as error:
        raise ValueError(f"mask {name!r} {error}") from error
    if about["classes"] is not None:
        known = (values < len(about["classes"])) | (values == about["ignore"])
        if not known.all():
            raise ValueError(
                f"mask {name!r} has the value {values[~known].max()}; known are 0 to"
                f" {len(about['classes']) - 1} and {about['ignore']} (ignore)"
            )
    return data


def _mask(files: Files, place: int | None, about: dict[str, Any]) -> Annotations:
    if place is None:
        raise ValueError(f"no mask: none of the folders {', '.join(_FOLDERS)} has a PNG for it")
    return {"semantic_png": read_mask(files, place, about)}


def _is_picture(name: str) -> bool:
    return is_image(name) and "images" in name.split("/")[:-1]
