"""A list of pictures: a text file with a path in each line, or a CSV or TSV table with a header.

Of the table's columns `path` is needed; `label`, `split` and `group` may stand beside it. Paths are
relative to the list. Records of one group (a patient, a video) never cross splits.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import PurePosixPath

from mimflow.data.readers.files import MAX_BYTES
from mimflow.data.readers.folder import read_file
from mimflow.data.readers.labels import numbered
from mimflow.data.readers.layout import SPELLINGS
from mimflow.data.readers.record import Record, Source, Wanted, in_order
from mimflow.data.readers.remote import is_url, read_url

_COLUMNS = ("path", "label", "split", "group")
_ALSO = {"file": "path", "filename": "path", "file_name": "path", "image": "path", "class": "label"}


def table_source(place: str, wanted: Wanted) -> Source:
    """The pictures that the list at `place` names, in the order of their paths."""
    rows = _rows(place)
    rows.sort(key=lambda row: _shown(row["path"]))
    names = [_shown(row["path"]) for row in rows]
    twice = next((a for a, b in itertools.pairwise(names) if a == b), None)
    if twice:
        raise ValueError(f"data.source: {place!r}: {twice!r} stands twice")
    labels, label_names = numbered([row.get("label") for row in rows])
    splits = [_split(row, place) for row in rows]
    grouped = any(row.get("group") for row in rows)
    groups = [row.get("group") or row["path"] for row in rows]
    _refuse_torn(groups, splits, place)

    def read(positions: Iterable[int]) -> Iterator[Record]:
        for i in positions:
            extra = {"group": groups[i]} if grouped else {}
            load = partial(_load, place, rows[i]["path"])
            yield Record(names[i], splits[i], labels[i], load, extra=extra)

    return Source(
        kind="list",
        encoding="file",
        label_names=label_names,
        names=names,
        split_of=lambda i: splits[i],
        read=read,
        splits=in_order(splits),
        annotations=("group",) if grouped else (),
        group_of=(lambda i: groups[i]) if grouped else None,
    )


def _rows(place: str) -> list[dict[str, str]]:
    data = read_url(place) if is_url(place) else read_file(place, MAX_BYTES)
    text = data.decode("utf-8-sig", "backslashreplace")
    ending = PurePosixPath(place.lower()).suffix
    if ending == ".txt":
        rows = [{"path": line.strip()} for line in text.splitlines() if line.strip()]
    else:
        try:
            rows = _table(text, "\t" if ending == ".tsv" else ",", place)
        except csv.Error as error:
            raise ValueError(f"data.source: {place!r} is no sound table ({error})") from error
    if not rows:
        raise ValueError(f"data.source: {place!r} names no picture")
    return rows


def _table(text: str, delimiter: str, place: str) -> list[dict[str, str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    head = [_ALSO.get(name.strip().lower(), name.strip().lower()) for name in next(reader, [])]
    if head.count("path") != 1:
        raise ValueError(
            f"data.source: {place!r}: the first line must name the columns, one of them `path`"
            f" (read are {', '.join(_COLUMNS)}; found: {', '.join(head)[:100]!r})"
        )
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(head):
            raise ValueError(
                f"data.source: {place!r}: line {reader.line_num} has {len(cells)} columns, the"
                f" first has {len(head)}"
            )
        row = dict(zip(head, map(str.strip, cells), strict=True))
        if not row["path"]:
            raise ValueError(f"data.source: {place!r}: line {reader.line_num} has no path")
        rows.append(row)
    return rows


def _shown(path: str) -> str:
    """The path as a name: one spelling for one file, as far as that can be told."""
    return str(PurePosixPath(path)) if not is_url(path) else path


def _split(row: dict[str, str], place: str) -> str | None:
    split = row.get("split", "").lower()
    if split and split not in SPELLINGS:
        raise ValueError(
            f"data.source: {place!r}: split {split!r} of {row['path']!r}; allowed:"
            f" {', '.join(SPELLINGS)}, or nothing"
        )
    return SPELLINGS.get(split)


def _refuse_torn(groups: list[str], splits: list[str | None], place: str) -> None:
    seen: dict[str, str | None] = {}
    for group, split in zip(groups, splits, strict=True):
        if seen.setdefault(group, split) != split:
            raise ValueError(
                f"data.source: {place!r}: group {group!r} stands in the splits"
                f" {seen[group] or '(none)'} and {split or '(none)'}; a group must not cross splits"
            )


def _load(place: str, path: str, most: int) -> bytes:
    if is_url(path):
        return read_url(path, most)
    if is_url(place):
        return read_url(f"{place.rpartition('/')[0]}/{path}", most)
    return read_file(str(PurePosixPath(place).parent / path), most)
