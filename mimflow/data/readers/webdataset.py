"""WebDataset's tars: files that share their name up to its first dot are one sample.

The picture is the file whose extension is a picture's; .cls holds the class, .json may hold it
(`label`, `cls` or `class`) and a `caption`, .txt is the caption. A set of tars says its splits in
their names (train-000.tar). https://github.com/webdataset/webdataset
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from mimflow.data.readers.files import Files
from mimflow.data.readers.images import EXTENSIONS, is_image
from mimflow.data.readers.labels import numbered
from mimflow.data.readers.layout import layout_of, split_in
from mimflow.data.readers.record import Record, Source, Wanted, in_order
from mimflow.data.readers.tar import tar_files

_SIDECARS = ("cls", "json", "txt")
_LABEL_KEYS = ("label", "cls", "class")
_TARS = (".tar", ".tar.gz", ".tgz")


class _Sample(NamedTuple):
    """One sample: which tar, and the places of its files in it by extension."""

    tar: int
    image: int
    beside: dict[str, int]


def webdataset_source(files: Files, wanted: Wanted) -> Source | None:
    """The samples of a tar or of a folder of tars; None where no picture has a file beside it."""
    if wanted.kind == "auto" and not files.within and any(map(is_image, files.names)):
        return None  # a folder of pictures, with an archive beside them
    tars = _tars(files)
    if not tars:
        return None
    samples: dict[str, _Sample] = {}
    ignored = Counter(files.ignored)
    for number, (prefix, tar) in enumerate(tars):
        ignored.update(tar.ignored)
        samples.update(_samples(prefix, tar, number, ignored))
    if not samples or (wanted.kind == "auto" and files.within and not _telling(samples)):
        return None
    names = sorted(samples)
    raw = [_facts(tars[samples[name].tar][1], samples[name]) for name in names]
    labels, label_names = numbered([label for label, _ in raw])
    captions = [caption for _, caption in raw]
    told = any(caption is not None for caption in captions)
    splits = [split_in(tars[samples[name].tar][0]) for name in names]

    def read(positions: Iterable[int]) -> Iterator[Record]:
        for i in positions:
            sample = samples[names[i]]
            load = partial(tars[sample.tar][1].read, sample.image)
            extra = {"caption": captions[i]} if told else {}
            yield Record(names[i], splits[i], labels[i], load, extra=extra)

    return Source(
        kind="webdataset",
        encoding="file",
        label_names=label_names,
        names=names,
        split_of=lambda i: splits[i],
        read=read,
        splits=in_order(splits),
        annotations=("caption",) if told else (),
        ignored=dict(+ignored),
        identity=" ".join([files.identity, *(tar.identity for _, tar in tars)]),
    )


def _telling(samples: dict[str, _Sample]) -> bool:
    """Whether what stands beside the pictures says more than the folders that they are in."""
    if any("cls" in sample.beside for sample in samples.values()):
        return True
    beside = any(sample.beside for sample in samples.values())
    return beside and not layout_of(list(samples)).classes


def _tars(files: Files) -> list[tuple[str, Files]]:
    """The tars, each with its name without the ending; the one that was opened has none."""
    if files.within == " in tar":
        return [("", files)]
    found = []
    for i, name in enumerate(files.names):
        ending = next((end for end in _TARS if name.lower().endswith(end)), None)
        if ending and files.ranged:
            found.append((name[: -len(ending)], tar_files(files.ranged(i))))
    return found


def _samples(
    prefix: str, tar: Files, number: int, ignored: Counter[str]
) -> Iterator[tuple[str, _Sample]]:
    groups: dict[str, dict[str, int]] = {}
    for place, name in enumerate(tar.names):
        folder, slash, base = name.rpartition("/")
        stem, _, extension = base.partition(".")
        groups.setdefault(folder + slash + stem, {})[extension.lower()] = place
    for key, group in groups.items():
        pictures = [ext for ext in group if f".{ext}" in EXTENSIONS]
        if not pictures:
            ignored["no picture in the sample"] += 1
            continue
        ignored["a second picture in the sample"] += len(pictures) - 1
        beside = {ext: group[ext] for ext in _SIDECARS if ext in group}
        ignored.update(f".{e}" for e in group if e not in beside and e not in pictures)
        name = f"{prefix}/{key}" if prefix else key
        yield name, _Sample(number, group[pictures[0]], beside)


def _facts(tar: Files, sample: _Sample) -> tuple[int | str | None, str | None]:
    """Label and caption of a sample; what cannot be read says nothing."""
    text = {ext: _text(tar.read(place)) for ext, place in sample.beside.items()}
    fields: dict[str, Any] = {}
    if "json" in text:
        try:
            found = json.loads(text["json"])
        except ValueError as error:
            name = tar.names[sample.beside["json"]]
            raise ValueError(f"data.source: {name!r} is no sound JSON: {error}") from error
        fields = found if isinstance(found, dict) else {}
    inner = next((fields[k] for k in _LABEL_KEYS if isinstance(fields.get(k), int | str)), None)
    told = fields.get("caption")
    caption = text.get("txt", told if isinstance(told, str) else None)
    return text.get("cls", inner), caption


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace").strip()
