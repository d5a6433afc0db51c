"""Is params.yaml right as a whole? Each mistake is one line: file, key, value, what is allowed, the
nearest name.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from mimflow.params import sections
from mimflow.params.built import TEACHERS, needs_mistakes, weights_mistakes
from mimflow.params.fields import Section
from mimflow.params.source import source_mistakes
from mimflow.params.targets import Targets
from mimflow.params.tasks.attentive import Attentive
from mimflow.params.tasks.diagnostics import Diagnostics
from mimflow.params.tasks.fewshot import Fewshot
from mimflow.params.tasks.finetune import Finetune
from mimflow.params.tasks.knn import Knn
from mimflow.params.tasks.linear import Linear
from mimflow.params.tasks.linear_sgd import LinearSgd
from mimflow.params.tokenizers import TOKENIZERS
from mimflow.params.training import Training

FILE = Path("params.yaml")
RUN_NAME = re.compile(r"[a-z][a-z0-9_-]*")  # a dot would break DVC's parameter paths
CONTROLS: dict[str, type[Section]] = {
    "random": sections.RandomControl,
    "timm": sections.TimmControl,
    "pixels": sections.PixelControl,
}
TASKS: dict[str, type[Section]] = {
    "knn": Knn,
    "linear": Linear,
    "linear_sgd": LinearSgd,
    "attentive": Attentive,
    "finetune": Finetune,
    "fewshot": Fewshot,
    "diagnostics": Diagnostics,
}
SECTIONS: dict[str, type[Section]] = {
    "data": sections.Data,
    "features": sections.Features,
    **TASKS,
}
# Sections of named entries, and the key that chooses an entry's kind; most may be empty.
ENTRIES = {
    **{"runs": "method", "taught": "method"},
    **{"controls": "kind", "teachers": "kind", "tokenizers": "kind"},
    **{"encoders": None, "targets": None},
}
FILLED = ("runs", "controls")


def nearest(name: object, allowed: Iterable[str]) -> str:
    """'nearest: x; allowed: x, y', or what of it there is."""
    names = sorted(allowed)
    close = difflib.get_close_matches(str(name), names, n=1)
    return "; ".join([f"nearest: {n}" for n in close] + [f"allowed: {', '.join(names)}"])


def methods() -> list[str]:
    """The published methods: one file each."""
    here = Path(__file__).parents[1] / "methods"
    return sorted(p.stem for p in here.glob("*.py") if p.stem != "__init__")


def schema_of(method: object) -> type[Training]:
    """The keys of a run of `method`: the class of the module of that name in `mimflow.params`."""
    if method not in methods():
        raise ValueError(f"{method!r} is no method ({nearest(method, methods())})")
    module = importlib.import_module(f"mimflow.params.{method}")
    [found] = [
        v for v in vars(module).values()
        if isinstance(v, type) and issubclass(v, Training) and v.__module__ == module.__name__
    ]  # fmt: skip
    return found


def parse(schema: type[Any], values: object, where: str) -> Any:
    """`values` as a `schema`. Raises ValueError with one line for each mistake below the key
    `where`.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise ValueError("\n".join(_lines(error, schema, where))) from None


def _lines(error: ValidationError, schema: type[Any], where: str) -> list[str]:
    problems = [(p, *_place(schema, p["loc"])) for p in error.errors(include_url=False)]
    missing = {keys for p, keys, _ in problems if p["type"] == "missing"}
    lines = []
    for p, keys, fields in problems:
        key = ".".join([where, *keys])
        if p["type"] == "extra_forbidden":
            meant = difflib.get_close_matches(keys[-1], fields, n=1)
            missing -= {(*keys[:-1], name) for name in meant}  # one mistake, one line
            lines.append(f"{FILE}: {key}: unknown key ({nearest(keys[-1], fields)})")
        elif p["type"] == "value_error":
            lines.append(f"{FILE}: {key}: {p['ctx']['error']}")
        elif p["type"] == "union_tag_invalid":
            allowed = [t.strip(" '") for t in p["ctx"]["expected_tags"].split(",")]
            chooser = p["ctx"]["discriminator"].strip("'")
            tag = p["ctx"]["tag"]
            lines.append(f"{FILE}: {key}.{chooser}: {tag!r} ({nearest(tag, allowed)})")
        elif p["type"] == "union_tag_not_found":
            missing.add((*keys, p["ctx"]["discriminator"].strip("'")))
        elif p["type"] != "missing":
            lines.append(f"{FILE}: {key}: {_shown(p['input'])} is not allowed: {_plain(p['msg'])}")
    return lines + [f"{FILE}: {'.'.join([where, *at])}: missing" for at in sorted(missing)]


def _place(
    schema: type[Any] | None, loc: tuple[int | str, ...]
) -> tuple[tuple[str, ...], list[str]]:
    """The keys of params.yaml that lead to `loc`, and the fields of the section that it is in.

    Where a section is chosen by a key (`kind`), pydantic puts the choice into the path.
    """
    keys: list[str] = []
    choices: dict[str, type[Any]] = {}
    fields: list[str] = []
    for part in map(str, loc):
        if part in choices:
            schema, choices = choices[part], {}
            continue
        keys.append(part)
        fields = list(schema.model_fields) if schema else []
        field = schema.model_fields.get(part) if schema else None
        inner = field.annotation if field else None
        choices = _choices(field)
        schema = inner if isinstance(inner, type) and issubclass(inner, Section) else None
    return tuple(keys), fields


def _choices(field: Any) -> dict[str, type[Any]]:
    """The value of the discriminator -> section, for a field that is one of several."""
    if field is None or not isinstance(field.discriminator, str):
        return {}
    members = get_args(field.annotation)
    return {get_args(m.model_fields[field.discriminator].annotation)[0]: m for m in members}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _plain(message: str) -> str:
    return message.replace("Input should", "it should")


def check(values: dict[str, Any]) -> None:
    """Raises ValueError with one line for each mistake in the whole of params.yaml."""
    lines: list[str] = []
    known = {*SECTIONS, *ENTRIES, "evaluate"}
    meant: list[str] = []  # one mistake, one line: a misspelt section is not missing as well
    for name in sorted({*values} - known, key=str):
        lines.append(f"{FILE}: {name}: unknown section ({nearest(name, known)})")
        meant += difflib.get_close_matches(str(name), known, n=1)
    for name in sorted(known - {*meant}):
        if name not in values:
            lines.append(f"{FILE}: {name}: missing section")
        elif name in ENTRIES:
            lines += _entries(name, values[name])
        elif name == "evaluate":
            lines += _lists(values[name])
        else:
            lines += _try(SECTIONS[name], values[name], name)
    if not lines:
        lines = [f"{FILE}: {line}" for line in source_mistakes(values["data"])]
        found = (*needs_mistakes(values), *weights_mistakes(values))
        lines += [*(f"{FILE}: {line}" for line in found), *_evaluated(values)]
    if lines:
        raise ValueError("\n".join(lines))


def _try(schema: type[Any], values: object, where: str) -> list[str]:
    try:
        parse(schema, values, where)
    except ValueError as error:
        return str(error).split("\n")
    return []


def _entries(section: str, entries: object) -> list[str]:
    """The mistakes in a section of named entries."""
    if not isinstance(entries, dict) or not (entries or section not in FILLED):
        return [f"{FILE}: {section}: at least one named entry is expected"]
    lines = []
    for name, values in entries.items():
        where = f"{section}.{name}"
        if not isinstance(name, str) or not RUN_NAME.fullmatch(name):
            lines.append(f"{FILE}: {where}: {name!r} is no name (allowed: {RUN_NAME.pattern})")
            continue
        chooser = ENTRIES[section]
        choice = values.get(chooser) if isinstance(values, dict) and chooser else None
        try:
            schema = _schema(section, choice)
        except ValueError as error:
            lines.append(f"{FILE}: {where}.{chooser}: {error}")
        else:
            lines += _try(schema, values, where)
    return lines


def _schema(section: str, choice: object) -> type[Section]:
    """The keys of an entry whose method or kind is `choice`."""
    kinds = {"controls": CONTROLS, "teachers": TEACHERS, "tokenizers": TOKENIZERS}.get(section)
    if kinds is not None:
        if str(choice) not in kinds:
            raise ValueError(f"{choice!r} ({nearest(choice, kinds)})")
        return kinds[str(choice)]
    if section in ("runs", "taught"):
        schema = schema_of(choice)
        if ("needs" in schema.model_fields) != (section == "taught"):
            other = "runs" if section == "taught" else "taught"
            raise ValueError(f"{choice!r} belongs in the section {other}")
        return schema
    return sections.Imported if section == "encoders" else Targets


def _lists(evaluate: object) -> list[str]:
    """The mistakes in `evaluate`: a list of names, maybe empty, for each task."""
    if not isinstance(evaluate, dict):
        return [f"{FILE}: evaluate: a list of names for each task is expected"]
    lines = [
        f"{FILE}: evaluate.{task}: unknown key ({nearest(task, TASKS)})"
        for task in evaluate
        if task not in TASKS
    ]
    wrong = [str(task) for task in evaluate if task not in TASKS]
    meant = {m for task in wrong for m in difflib.get_close_matches(task, TASKS, n=1)}
    for task in TASKS:
        names = evaluate.get(task)
        if task not in evaluate:
            lines += [] if task in meant else [f"{FILE}: evaluate.{task}: missing"]
        elif not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            lines.append(f"{FILE}: evaluate.{task}: {_shown(names)}: a list of names is expected")
    return lines


def _evaluated(values: dict[str, Any]) -> list[str]:
    """Evaluated names exist, once, and each run is read against the same encoder with random
    weights.
    """
    runs = {**values["runs"], **values["taught"]}
    controls, encoders = values["controls"], values["encoders"]
    every = [*runs, *controls, *encoders]
    lines = [
        f"{FILE}: taught.{n}: a run has this name too"
        for n in sorted({*values["runs"]} & {*values["taught"]})
    ]
    lines += [
        f"{FILE}: {section}.{n}: a run has this name too"
        for section in ("controls", "encoders")
        for n in sorted({*runs} & {*values[section]})
    ]
    lines += [
        f"{FILE}: encoders.{n}: a control has this name too"
        for n in sorted({*controls} & {*encoders})
    ]
    for task, names in values["evaluate"].items():
        where = f"{FILE}: evaluate.{task}"
        lines += [
            f"{where}: {n!r} stands twice" for n in sorted({n for n in names if names.count(n) > 1})
        ]
        random = {
            n: controls[n]["encoder"] for n in names if controls.get(n, {}).get("kind") == "random"
        }
        for name in names:
            if name not in every:
                lines.append(
                    f"{where}: {name!r} is no run, control or encoder ({nearest(name, every)})"
                )
            elif name in runs and runs[name]["encoder"] not in random.values():
                lines.append(
                    f"{where}: {name!r} has no random control with the same encoder beside it"
                    + _difference(runs[name]["encoder"], random)
                )
            elif task == "attentive" and controls.get(name, {}).get("kind") == "pixels":
                lines.append(f"{where}: {name!r} has no patch tokens")
    return lines


def _difference(encoder: dict[str, Any], random: dict[str, dict[str, Any]]) -> str:
    """' (what the nearest of the random controls has otherwise)'."""
    others = {
        name: [k for k in {**other, **encoder} if encoder.get(k) != other.get(k)]
        for name, other in random.items()
    }
    if not others:
        return ""
    name = min(others, key=lambda n: len(others[n]))
    told = ", ".join(f"{key} {random[name].get(key)!r}" for key in others[name])
    return f" (nearest: {name}, which has {told})"
