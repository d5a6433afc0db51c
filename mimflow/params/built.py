"""What is built on what: teachers, stored targets, tokenizers, and runs that need one of them.

`needs` is a path that a stage makes, so that DVC and Snakemake see it like any other input.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mimflow.params.caption import CaptionTeacher
from mimflow.params.fields import Section
from mimflow.params.mocov3 import MoCoTeacher
from mimflow.params.teachers import ImportedTeacher, RandomTeacher, RunTeacher

TEACHERS: dict[str, type[Section]] = {
    "imported": ImportedTeacher,
    "run": RunTeacher,
    "random": RandomTeacher,
    "mocov3": MoCoTeacher,
    "caption": CaptionTeacher,
}
FROM_FILE = ("imported", "dalle", "beit2")  # kinds whose `needs` no stage makes
FILES = {  # section -> the file of an entry that others may need
    "teachers": "teachers/{}/weights.safetensors",
    "targets": "targets/{}/index.json",
    "tokenizers": "tokenizers/{}/weights.safetensors",
    "runs": "runs/{}/encoder.safetensors",
    "taught": "runs/{}/encoder.safetensors",
    "encoders": "runs/{}/encoder.safetensors",
}
ALLOWED = {  # section -> what its entries may need
    "teachers": ("runs", "taught", "encoders"),
    "targets": ("teachers",),
    "tokenizers": ("runs", "taught", "encoders", "teachers"),
    "taught": ("teachers", "targets", "tokenizers"),
}


def made_files(values: dict[str, Any], sections: tuple[str, ...]) -> dict[str, str]:
    """File -> section.name of all that `sections` make."""
    return {FILES[s].format(name): f"{s}.{name}" for s in sections for name in values[s]}


def needs_mistakes(values: dict[str, Any]) -> Iterator[str]:
    """One line for each `needs` that nothing makes, or that comes back to itself."""
    for section, others in ALLOWED.items():
        made = made_files(values, others)
        for name, entry in values[section].items():
            where, needs = f"{section}.{name}.needs", entry["needs"]
            if entry.get("kind") in FROM_FILE:
                yield from _file(where, needs)
            elif needs not in made and needs != "data/index.json":
                close = difflib.get_close_matches(needs, made, n=1)
                hint = f"nearest: {close[0]}; " if close else ""
                allowed = ", ".join(sorted(made)) or f"none: no {' and no '.join(others)}"
                yield f"{where}: {needs!r} is made by nothing ({hint}allowed: {allowed})"
    yield from _circles(values)


def _file(where: str, needs: str) -> Iterator[str]:
    path = Path(needs)
    if path.exists():
        return
    beside = [str(p) for p in path.parent.glob("*")] if path.parent.is_dir() else []
    hint = "".join(f" (nearest: {n})" for n in difflib.get_close_matches(needs, beside, n=1))
    yield f"{where}: no such file or folder: {needs!r}{hint}"


def _circles(values: dict[str, Any]) -> Iterator[str]:
    made = made_files(values, tuple(FILES))
    for section in ALLOWED:
        for name in values[section]:
            seen, at = [], f"{section}.{name}"
            while at and at not in seen:
                seen.append(at)
                of, _, key = at.partition(".")
                at = made.get(values[of][key].get("needs", ""), "")
            if at == seen[0]:
                yield f"{section}.{name}.needs: it comes back to itself: {' <- '.join(seen)}"


def weights_mistakes(values: dict[str, Any]) -> Iterator[str]:
    """One line for each given encoder whose weights are not there and that no teacher is."""
    made = made_files(values, ("teachers",))
    for name, entry in values["encoders"].items():
        if entry["weights"] not in made:
            yield from _file(f"encoders.{name}.weights", entry["weights"])
