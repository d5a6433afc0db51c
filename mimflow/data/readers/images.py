"""Encoded pictures in folders: with classes ("imagefolder") or without ("folder")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial

from mimflow.data.readers.files import Files, suffix
from mimflow.data.readers.layout import Layout, common, layout_of
from mimflow.data.readers.record import Record, Source, Wanted

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm")


def image_source(files: Files, wanted: Wanted) -> Source | None:
    """Every file with an image's extension or with none; None if there is no such file."""
    places = [i for i, name in enumerate(files.names) if _candidate(name)]
    if not places:
        return None
    ignored = Counter(files.ignored)
    ignored.update(suffix(name) for name in files.names if not _candidate(name))
    names = [files.names[i] for i in places]
    below = common(names)
    names = [name[below:] for name in names] if below else names
    layout = layout_of(names)
    if wanted.kind == "folder":  # folders that say nothing about what a picture shows
        layout = Layout(layout.split_at, layout.class_at, {})

    def read(positions: Iterable[int]) -> Iterator[Record]:
        for i in positions:
            name, load = names[i], partial(files.read, places[i])
            yield Record(name, layout.split_of(name), layout.label_of(name), load)

    return Source(
        kind=("imagefolder" if layout.classes else "folder") + files.within,
        encoding="file",
        label_names=list(layout.classes),
        names=names,
        split_of=lambda i: layout.split_of(names[i]),
        read=read,
        splits=layout.splits(names),
        ignored=dict(ignored),
        identity=files.identity,
    )


def is_image(name: str) -> bool:
    """Whether the name has the extension of a picture."""
    return suffix(name) in EXTENSIONS


def _candidate(name: str) -> bool:
    return not suffix(name) or is_image(name)
