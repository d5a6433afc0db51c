"""Does what a tokenizer or a taught run builds on exist, and come before it?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

IMAGES = "data/index.json"  # a tokenizer that needs images alone
FILE = "tokenizers/{}/weights.safetensors"
IMPORTED = ("dalle", "beit2")
Nearest = Callable[[object, Iterable[str]], str]


def needs_mistakes(values: dict[str, Any], nearest: Nearest) -> list[str]:
    """One line, from its key on, for each `needs` that can not be."""
    encoders = {
        f"runs/{name}/encoder.safetensors"
        for section in ("runs", "taught", "encoders")
        for name in values[section]
    }
    weights = {FILE.format(name) for name in values["tokenizers"]}
    lines = []
    for name, entry in values["tokenizers"].items():
        where, needs = f"tokenizers.{name}.needs", entry["needs"]
        if entry["kind"] in IMPORTED:
            if not Path(needs).exists():
                lines.append(f"{where}: no such file or folder: {needs!r}")
        elif entry["kind"] in ("dvae", "vqgan"):
            if needs != IMAGES:
                lines.append(f"{where}: {needs!r}: a {entry['kind']} needs {IMAGES} alone")
        elif needs not in encoders:
            lines.append(f"{where}: {needs!r} is no encoder ({nearest(needs, encoders)})")
    for name, entry in values["taught"].items():
        if entry["needs"] not in weights:
            hint = nearest(entry["needs"], weights)
            lines.append(f"taught.{name}.needs: {entry['needs']!r} is no tokenizer ({hint})")
    return lines or _circles(values)


def _circles(values: dict[str, Any]) -> list[str]:
    """Tokenizers that, followed back through runs, build on themselves."""
    above = {FILE.format(n): e["needs"] for n, e in values["tokenizers"].items()}
    above |= {f"runs/{n}/encoder.safetensors": e["needs"] for n, e in values["taught"].items()}
    lines = []
    for name in values["tokenizers"]:
        seen, at = set(), FILE.format(name)
        while at in above and at not in seen:
            seen.add(at)
            at = above[at]
        if at in seen:
            lines.append(f"tokenizers.{name}.needs: it builds on itself, through {at}")
    return lines
