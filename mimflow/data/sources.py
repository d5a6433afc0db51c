"""A path or URL becomes a source: what it holds is recognised, said, and read in place.

Two steps: a place is opened as files (a folder, a zip, a tar, a prefix), and these are recognised
as a kind of data set, or read as the kind that `data.kind` names. A new archive is one more line in
`_ARCHIVES`, a new layout one more in `_LAYOUTS`: a function from `Files` to a `Source`, or None
when it sees nothing of its own. They are asked in this order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from mimflow.data.readers.cifar import cifar_source
from mimflow.data.readers.coco import coco_source
from mimflow.data.readers.files import MAX_BYTES, Files, check_size, expand, select
from mimflow.data.readers.folder import folder_files
from mimflow.data.readers.images import EXTENSIONS, image_source
from mimflow.data.readers.masks import mask_source
from mimflow.data.readers.parquet import parquet_source
from mimflow.data.readers.points import point_source
from mimflow.data.readers.ranged import Ranged, local
from mimflow.data.readers.record import Record, Source, Wanted
from mimflow.data.readers.remote import identity, is_file, is_url, remote_file, remote_files
from mimflow.data.readers.scenes import scenes_source
from mimflow.data.readers.table import table_source
from mimflow.data.readers.tar import tar_files
from mimflow.data.readers.webdataset import webdataset_source
from mimflow.data.readers.zip import zip_files

__all__ = ["Record", "Source", "Wanted", "open_source"]

_T = TypeVar("_T")
_Layout = Callable[[Files, Wanted], Source | None]

_DESCRIBED = (".yaml", ".yml")
_LISTS = (".txt", ".csv", ".tsv")
_TABLES = (".parquet", ".npz")
_ARCHIVES: dict[str, Callable[[Ranged], Files]] = {
    ".zip": zip_files,
    ".tar": tar_files,
    ".tar.gz": tar_files,
    ".tgz": tar_files,
}
_LAYOUTS: dict[str, _Layout] = {
    "cifar": cifar_source,
    "parquet": parquet_source,
    "coco": coco_source,
    "masks": mask_source,
    "webdataset": webdataset_source,
    "points": point_source,
    "imagefolder": image_source,
    "folder": image_source,
}
KINDS = ("auto", *_LAYOUTS, "list", "scenes")


def open_source(path: str, wanted: Wanted | None = None) -> Source:
    """The data set at `path`; `source.kind` says what it was taken for."""
    wanted = wanted or Wanted()
    folder, _, pattern = path.rpartition("/")
    if wanted.files is None and expand(pattern) != [pattern]:
        path, wanted = folder or ".", wanted._replace(files=pattern)
    single = _is_single(path)
    source = _alone(path, wanted) if single else None
    if source is None:
        source = _recognise(_open_files(path, single), path, wanted)
    if wanted.kind != "auto" and source.kind.split()[0] != wanted.kind:
        raise ValueError(f"data.kind: {wanted.kind}, but {path!r} is {source.kind}")
    return replace(source, distant=is_url(path))


def _alone(path: str, wanted: Wanted) -> Source | None:
    """A file that describes or lists the pictures, or None."""
    name = path.lower()
    if name.endswith(_LISTS):
        source = table_source(path, wanted)
        return replace(source, identity=identity(path)) if is_url(path) else source
    if name.endswith(_DESCRIBED) and not is_url(path):
        return scenes_source(Path(path))
    return None


def _recognise(files: Files, path: str, wanted: Wanted) -> Source:
    if wanted.files is not None:
        files = select(files, wanted.files)
    asked = _LAYOUTS if wanted.kind == "auto" else {wanted.kind: _LAYOUTS.get(wanted.kind)}
    for layout in asked.values():
        source = layout(files, wanted) if layout else None
        if source:
            return source
    if wanted.kind != "auto":
        raise ValueError(f"data.kind: {path!r} holds nothing of the kind {wanted.kind!r}")
    raise ValueError(
        f"data.source: {path!r} holds no images ({len(files.names)} other files);"
        f" allowed are {' '.join(EXTENSIONS)} and names without an extension"
    )


def _is_single(path: str) -> bool:
    if is_url(path):
        return is_file(path)
    place = Path(path)
    if not place.exists():
        raise ValueError(f"data.source: no such file or folder: {path!r}{_nearest(place)}")
    return place.is_file()


def _open_files(path: str, single: bool) -> Files:
    if not single:
        return remote_files(path) if is_url(path) else folder_files(Path(path))
    archive = _by_ending(path, _ARCHIVES)
    if archive is None and not path.lower().endswith(_TABLES):
        allowed = ", ".join([*_DESCRIBED, *_LISTS, *_TABLES, *_ARCHIVES])
        raise ValueError(f"data.source: {path!r}; allowed: a folder or one of {allowed}")
    file = remote_file(path) if is_url(path) else local(Path(path))
    files = archive(file) if archive else _one(file)
    return replace(files, identity=identity(path)) if is_url(path) else files


def _one(file: Ranged) -> Files:
    """A file that stands alone, as files."""

    def read(i: int, most: int = MAX_BYTES) -> bytes:
        check_size(file.size, most)
        return file.read(file.size, 0)

    name = file.name.rpartition("/")[2]
    return Files("", [name], read, lambda i: file.size, Counter(), ranged=lambda i: file)


def _by_ending(path: str, choices: dict[str, _T]) -> _T | None:
    name = path.lower()
    return next((choice for ending, choice in choices.items() if name.endswith(ending)), None)


def _nearest(place: Path) -> str:
    """The name in the same folder that looks most like the missing one."""
    if not place.parent.is_dir():
        return f" (nor its folder {str(place.parent)!r})"
    near = get_close_matches(place.name, [entry.name for entry in place.parent.iterdir()], 1, 0)
    return f" (nearest: {str(place.with_name(near[0]))!r})" if near else ""
