"""Can the section `data` be read here? A local path must exist; a URL must be of a known kind.

Nothing is asked over a network: whether a URL answers shows when the stage runs.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

_RANGE = re.compile(r"\{\d+\.\.\d+\}")


def source_mistakes(data: dict[str, Any]) -> list[str]:
    """One line for each mistake, from its key on."""
    lines = _place(data["source"])
    for key, taken in (("channels", 3), ("bit_depth", 8)):
        if data[key] != taken:  # shards of other pictures can be made and read, not trained on
            lines.append(f"data.{key}: {data[key]}; encoders take {taken}")
    return lines


def _place(source: str) -> list[str]:
    folder, _, name = source.rpartition("/")
    if _RANGE.search(source):  # DVC and Snakemake watch a place, not a pattern
        return [
            f"data.source: {source!r} is a pattern; write source: {folder or '.'} and files: {name}"
        ]
    if "://" in source:
        return _url(source)
    path = Path(source)
    if path.exists():
        return []
    beside = (
        [str(path.parent / p.name) for p in path.parent.glob("*")] if path.parent.is_dir() else []
    )
    close = difflib.get_close_matches(source, beside, n=1)
    hint = f" (nearest: {close[0]})" if close else ""
    return [f"data.source: no such file or folder: {source!r}{hint}"]


def _url(source: str) -> list[str]:
    from fsspec.registry import known_implementations  # here: a local source needs none of it

    scheme, _, rest = source.partition("://")
    if scheme not in known_implementations:
        close = difflib.get_close_matches(scheme, known_implementations, 1, 0.5)
        hint = f"nearest: {close[0]}; " if close else ""
        return [f"data.source: {scheme!r} is no protocol ({hint}such as s3, gs, https)"]
    return [] if rest.strip("/") else [f"data.source: {source!r} names no bucket or server"]
