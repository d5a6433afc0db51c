"""A path becomes a source: what it holds is recognised, said, and read without being unpacked.

Two steps: a path is opened as files (a folder, a zip, a tar), and these are recognised as a kind
of data set. A new archive is one more line in `_ARCHIVES`, a new layout one more in `_LAYOUTS`: a
function from `Files` to a `Source`, or None when it sees nothing of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from mimflow.data.readers.cifar import cifar_source
from mimflow.data.readers.files import Files
from mimflow.data.readers.folder import folder_files
from mimflow.data.readers.images import EXTENSIONS, image_source
from mimflow.data.readers.record import Record, Source
from mimflow.data.readers.scenes import scenes_source
from mimflow.data.readers.tar import tar_files
from mimflow.data.readers.zip import zip_files

__all__ = ["Record", "Source", "open_source"]

_T = TypeVar("_T")

_DESCRIBED: dict[str, Callable[[Path], Source]] = {".yaml": scenes_source, ".yml": scenes_source}
_ARCHIVES: dict[str, Callable[[Path], Files]] = {
    ".zip": zip_files,
    ".tar": tar_files,
    ".tar.gz": tar_files,
    ".tgz": tar_files,
}
_LAYOUTS: tuple[Callable[[Files], Source | None], ...] = (cifar_source, image_source)


def open_source(path: str) -> Source:
    """The data set at `path`; `source.kind` says what it was taken for."""
    place = Path(path)
    if not place.exists():
        raise ValueError(f"data.source: no such file or folder: {path!r}{_nearest(place)}")
    describe = _by_ending(place, _DESCRIBED) if place.is_file() else None
    if describe:
        return describe(place)
    files = _open_files(place)
    for recognise in _LAYOUTS:
        source = recognise(files)
        if source:
            return source
    raise ValueError(
        f"data.source: {path!r} holds no images ({len(files.names)} other files);"
        f" allowed are {' '.join(EXTENSIONS)} and names without an extension"
    )


def _open_files(place: Path) -> Files:
    if place.is_dir():
        return folder_files(place)
    archive = _by_ending(place, _ARCHIVES)
    if archive is None:
        allowed = ", ".join([*_DESCRIBED, *_ARCHIVES])
        raise ValueError(f"data.source: {str(place)!r}; allowed: a folder or one of {allowed}")
    return archive(place)


def _by_ending(place: Path, choices: dict[str, _T]) -> _T | None:
    name = place.name.lower()
    return next((choice for ending, choice in choices.items() if name.endswith(ending)), None)


def _nearest(place: Path) -> str:
    """The name in the same folder that looks most like the missing one."""
    if not place.parent.is_dir():
        return f" (nor its folder {str(place.parent)!r})"
    near = get_close_matches(place.name, [entry.name for entry in place.parent.iterdir()], 1, 0)
    return f" (nearest: {str(place.with_name(near[0]))!r})" if near else ""
