"""New entries of params.yaml: flat copies of a run, teacher or tokenizer with some values changed;
the file keeps its comments.
"""

from __future__ import annotations

import copy
import io
import itertools
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mimflow.files import write
from mimflow.params.check import FILE, check, nearest
from mimflow.params.read import read_yaml

TRAINED = ("runs", "taught", "teachers", "tokenizers")  # what may be copied
EVALUATED = ("runs", "taught", "controls", "encoders")  # one space of names


def new_runs(name: str, like: str, sets: list[str], grids: list[str]) -> list[str]:
    """Adds the entry `name` beside `like`, or one for each point of the grids, to params.yaml;
    returns the names.

    `sets` are key=value, `grids` key=value,value. A new run is evaluated wherever `like` is, and
    gets a random control if its encoder has none. Raises ValueError, the file untouched, if the
    result would not pass `mimflow check`.
    """
    yaml = YAML()
    yaml.representer.add_representer(type(None), _null)
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    values = yaml.load(FILE.read_text(encoding="utf-8"))
    section = next((s for s in TRAINED if like in values[s]), None)
    if section is None:
        known = [entry for s in TRAINED for entry in values[s]]
        raise ValueError(
            f"--like {like!r} is no run, teacher or tokenizer ({nearest(like, known)})"
        )
    taken = EVALUATED if section in EVALUATED else (section,)
    names: list[str] = []
    for point in _points(grids):
        new = (
            "-".join([name, *(f"{key.split('.')[-1]}{text}" for key, text in point)])
            .replace(".", "_")
            .replace("+", "")
        )
        if any(new in values[s] for s in taken):
            raise ValueError(f"{FILE}: {new!r} is there already")
        entry = copy.deepcopy(values[section][like])
        for key, text in [*map(_pair, sets), *point]:
            _set(entry, key, _value(yaml, key, text))
        values[section][new] = entry
        if section in EVALUATED:
            _evaluate(values, new, names[-1] if names else like, entry["encoder"])
        names.append(new)
    out = io.StringIO()
    yaml.dump(values, out)
    _checked(out.getvalue())
    write(FILE, out.getvalue().encode())
    return names


def _null(representer: Any, value: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _value(yaml: YAML, key: str, text: str) -> Any:
    try:
        return yaml.load(text)
    except YAMLError as error:
        problem = getattr(error, "problem", None) or "no value"
        raise ValueError(f"{key}={text}: {problem}") from None


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or not value:
        raise ValueError(f"{text!r}: key=value is expected")
    return key, value


def _points(grids: list[str]) -> list[list[tuple[str, str]]]:
    """Every combination of the grids' values."""
    axes = [[(key, v) for v in values.split(",")] for key, values in map(_pair, grids)]
    return [list(point) for point in itertools.product(*axes)]


def _set(entry: Any, key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        entry = entry.get(part) if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or last not in entry:
        raise ValueError(f"{key!r} is no key of the entry ({nearest(last, entry or ())})")
    entry[last] = value


def _evaluate(values: Any, new: str, like: str, encoder: Any) -> None:
    """Beside `like` in every task; with a control if the encoder has none there."""
    random = {n: c for n, c in values["controls"].items() if c["kind"] == "random"}
    same = next((n for n, c in random.items() if c["encoder"] == encoder), None)
    if same is None:
        same = f"random-{new}"
        values["controls"][same] = copy.deepcopy(next(iter(random.values())))
        values["controls"][same]["encoder"] = copy.deepcopy(encoder)
    for names in values["evaluate"].values():
        if like in names:
            names.insert(names.index(like) + 1, new)
            if same not in names:
                names.append(same)


def _checked(text: str) -> None:
    beside = Path("params.yaml.new")
    try:
        write(beside, text.encode())
        check(read_yaml(beside))
    finally:
        beside.unlink(missing_ok=True)
