"""The one reader of dvc.yaml and params.yaml, for rules, stages and tests.

dvc.yaml says what a stage is: command, files, parameters. This file expands it (`foreach`,
`${...}`), hashes it and runs a stage's body under the contract: declared parameters only, exit
codes, outputs that say what made them. A stage's *recipe* is its parameters and code, known before
anything runs; what it was *made by* adds the contents of its inputs. Nothing here is heavier than
YAML and pydantic: it is loaded at every parse of the workflow.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mimflow import code as sources
from mimflow.files import canonical, write
from mimflow.hashes import Hashes, sizes_of
from mimflow.params.read import read_yaml
from mimflow.ranks import discover
from mimflow.several import leave
from mimflow.threads import set_threads
from mimflow.train.outcome import Diverged, Interrupted

LIBRARIES = ("torch", "timm", "numpy", "pillow", "pyarrow", "scikit-learn", "safetensors")
SOURCES = ("mimflow", "stages")  # inputs of the stage `code`, whose outputs are their hashes
_TEMPLATE = re.compile(r"\$\{([\w.-]+)\}")


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml, expanded. `key`: which entry of its foreach, or None."""

    kind: str
    key: str | None
    command: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    patterns: tuple[str, ...]  # the outs with {key} in the place of the key
    values: dict[str, Any]  # dotted key of params.yaml -> value; '' is the whole file
    made_hash: str = ""  # what makes the outputs, known when the stage runs

    @property
    def name(self) -> str:
        """As DVC calls it."""
        return self.kind if self.key is None else f"{self.kind}@{self.key}"

    @property
    def code(self) -> list[str]:
        """The inputs that are hashes of code."""
        return [d for d in self.deps if d.startswith("code/")]

    @property
    def made_file(self) -> Path:
        """The output that says what made the others."""
        [found] = filter(says_made, self.outs)
        return Path(found)

    @property
    def threads(self) -> int:
        """The parameter of this name, of a section or of its part `compute`; else 1."""
        sections = [v for v in self.values.values() if isinstance(v, dict)]
        found = [s.get("compute", s).get("threads") for s in sections]
        return max((n for n in found if isinstance(n, int)), default=1)  # a run may bear the name

    def params(self, key: str) -> Any:
        """The value at `key`, which dvc.yaml must declare for this stage."""
        if key not in self.values:
            raise ValueError(
                f"dvc.yaml: {self.name}: {key} is not among its params: {sorted(self.values)}"
            )
        return self.values[key]

    def recipe(self) -> str:
        """Hash of the parameters and the code, known before the inputs are."""
        code = {path: _code(Path(path)) for path in self.code}
        return _hash({"stage": self.kind, "params": self.values, "code": code})

    def made_by(self, all_outs: dict[str, Stage], hashes: Hashes) -> dict[str, Any]:
        """What makes this stage's outputs now: the recipe, and the hash of each input.

        An input folder that is one stage's output has an index beside it, also an input, with its
        files' hashes: it is not read. One that holds several stages' outputs stands for these.
        """
        inputs = {}
        for dep in self.deps:
            if dep in self.code or dep in SOURCES or (dep in all_outs and Path(dep).is_dir()):
                continue
            below = [o for o in all_outs if o.startswith(dep + "/") and not says_made(o)]
            for path in below or [dep]:
                inputs[path] = remote_identity(path) if "://" in path else hashes.of(Path(path))
        facts = {
            "stage": self.name,
            "params": self.values,
            "recipe": self.recipe(),
            "inputs": inputs,
        }
        return {**facts, "hash": _hash(facts)}


def _code(path: Path) -> str | None:
    """What code/<name>.json holds by the sources here: the file may be older. In a folder without
    sources (`mimflow verify`) the file counts.
    """
    try:
        return sources.told(path.stem, Path.cwd())
    except ValueError:
        return path.read_text() if path.exists() else None


def says_made(path: str) -> bool:
    """Whether an output is the one that says what made the others."""
    return path.endswith(("/made.json", ".made.json"))


def remote_identity(url: str) -> str:
    """Names, sizes and tags of what lies behind a URL, as one hash: it has no content to hash."""
    from mimflow.data.readers.remote import identity  # fsspec: only where a source is a URL

    return identity(url)


def _hash(facts: Any) -> str:
    return hashlib.sha256(canonical(facts)).hexdigest()


def load(params: dict[str, Any] | None = None) -> dict[str, Stage]:
    """Every stage of ./dvc.yaml by name, for ./params.yaml or the given values."""
    values = read_yaml(Path("params.yaml")) if params is None else params
    found = (
        s
        for kind, entry in read_yaml(Path("dvc.yaml"))["stages"].items()
        for s in _expand(kind, entry, values)
    )
    return {stage.name: stage for stage in found}


def _expand(kind: str, entry: dict[str, Any], params: dict[str, Any]) -> Iterator[Stage]:
    if "foreach" not in entry:
        yield _stage(kind, None, entry, params, params)
        return
    items = _lookup(entry["foreach"].strip("${}"), params, f"dvc.yaml: {kind}")
    pairs = items.items() if isinstance(items, dict) else [(item, item) for item in items]
    for key, item in pairs:
        yield _stage(kind, key, entry["do"], {**params, "key": key, "item": item}, params)


def _stage(
    kind: str, key: str | None, entry: dict[str, Any], names: dict[str, Any], params: dict[str, Any]
) -> Stage:
    def fill(text: str, names: dict[str, Any] = names) -> str:
        return _TEMPLATE.sub(lambda m: str(_lookup(m[1], names, f"dvc.yaml: {kind}")), text)

    def paths(*sections: str) -> list[str]:
        return [
            p if isinstance(p, str) else next(iter(p)) for s in sections for p in entry.get(s, ())
        ]

    keys = [fill(p) if isinstance(p, str) else "" for p in entry.get("params", ())]
    outs = paths("outs", "metrics", "plots")
    return Stage(
        kind=kind,
        key=key,
        command=fill(entry["cmd"]),
        deps=tuple(map(fill, paths("deps"))),
        outs=tuple(map(fill, outs)),
        patterns=tuple(fill(o, {**names, "key": "{key}", "item": "{key}"}) for o in outs),
        values={k: _lookup(k, params, f"dvc.yaml: {kind}") if k else params for k in keys},
    )


def _lookup(dotted: str, values: dict[str, Any], where: str) -> Any:
    node: Any = values
    for part in dotted.split("."):
        if not isinstance(node, dict) or part not in node:
            raise ValueError(f"{where}: params.yaml has no {dotted}")
        node = node[part]
    return node


def owners(stages: dict[str, Stage]) -> dict[str, Stage]:
    """Output path -> the stage that makes it."""
    return {out: stage for stage in stages.values() for out in stage.outs}


def outputs_of(stage: Stage, hashes: Hashes) -> dict[str, str]:
    """Output -> hash of its bytes; of a folder of shards, whose index has their hashes, of its
    names and sizes.
    """
    outs = [Path(o) for o in stage.outs if o != str(stage.made_file)]
    return {str(o): sizes_of(o) if o.is_dir() else hashes.of(o) for o in outs}


def is_current(stage: Stage, stages: dict[str, Stage], hashes: Hashes) -> bool:
    """Whether the outputs are those that the present parameters, code and inputs have made."""
    if not all(Path(o).exists() for o in stage.outs):
        return False
    try:
        made = json.loads(stage.made_file.read_bytes())
        present = made["hash"] == stage.made_by(owners(stages), hashes)["hash"]
        return present and made.get("outputs") in (None, outputs_of(stage, hashes))
    except (ValueError, KeyError):  # an input is missing, or the file is no longer what was written
        return False


def versions() -> dict[str, str]:
    """The installed libraries that a result may depend on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def made_json(made: dict[str, Any]) -> bytes:
    """What a stage's made.json holds."""
    return canonical({**made, "versions": versions()})


Body = Callable[[Stage], Callable[[], None] | None]


def run(kind: str, body: Body, argv: list[str] | None = None, whole: bool = True) -> int:
    """Runs `body` on the stage named by the arguments; returns the exit code of the contract.

    What `body` returns is called when the outputs are complete: the place to drop what a resume
    needed. 0 done, 2 wrong input or parameters, 3 training diverged, 75 interrupted and resumable.
    Not `whole`: `body` does a part of the stage, so that nothing says yet what made it.
    """
    arguments = sys.argv[1:] if argv is None else argv
    code, message = _outcome(kind, body, arguments, whole)
    leave(code, message, discover().rank)
    return code


def _outcome(kind: str, body: Body, arguments: list[str], whole: bool) -> tuple[int, str]:
    try:
        stages = load(_checked())
        stage = _find(kind, arguments, stages)
        _refuse_changed(stage)
        set_threads(stage.threads)
        if not whole:
            body(stage)
            return 0, ""
        made = stage.made_by(owners(stages), Hashes())
        drop_state = body(replace(stage, made_hash=made["hash"]))
        if discover().rank == 0:
            outputs = outputs_of(stage, Hashes())
            write(stage.made_file, made_json({**made, "outputs": outputs}))
        if drop_state is not None:
            drop_state()
        return 0, ""
    except (ValueError, OSError) as error:
        if os.environ.get("MIMFLOW_TRACEBACK"):
            traceback.print_exc()
        return 2, f"{kind}: {error}" if isinstance(error, OSError) else str(error)
    except Diverged as error:
        return 3, f"{kind}: {error}"
    except Interrupted as error:
        return 75, f"{kind}: {error}"


def _checked() -> dict[str, Any]:
    """params.yaml, checked as a whole: nothing starts beside a mistake."""
    from mimflow.params.check import check  # pydantic: only where a stage runs

    values = read_yaml(Path("params.yaml"))
    check(values)
    return values


def _find(kind: str, arguments: list[str], stages: dict[str, Stage]) -> Stage:
    name = "@".join([kind, *arguments])
    if name not in stages:
        allowed = [s.name for s in stages.values() if s.kind == kind]
        close = difflib.get_close_matches(name, allowed, n=1)
        raise ValueError(
            f"dvc.yaml: no stage {name}"
            f" (nearest: {', '.join(close)}; allowed: {', '.join(allowed)})"
        )
    return stages[name]


def _refuse_changed(stage: Stage) -> None:
    """A job that waited in a queue runs only what was planned."""
    planned = json.loads(os.environ.get("MIMFLOW_RECIPES", "{}")).get(stage.name)
    if planned is not None and planned != stage.recipe():
        raise ValueError(
            f"{stage.name}: params.yaml or the code changed since this job was planned;"
            " run the workflow again"
        )
