"""Code as an input: the hash of what a stage or a method would run.

The hash covers the syntax trees, without comments and docstrings, of every file of ours that the
stage or method imports, at any depth. So a comment changes nothing, a changed mask changes whatever
uses it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mimflow.files import canonical, write

OURS = ("mimflow", "stages")
MADE = ("teacher", "tokenizer")  # by a stage of its own, by kind
# Can not reach a result: they read parameters, say what goes on, and run the stages.
OBSERVERS = frozenset(
    {
        "mimflow.stage",
        "mimflow.several",
        "mimflow.params.built",
        "mimflow.params.check",
        "mimflow.params.read",
        "mimflow.train.record",
    }
)


def closure(module: str, root: Path) -> set[str]:
    """The modules of ours that `module` imports, directly or not, itself included, observers left
    out.
    """
    found: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in found or name in OBSERVERS:
            continue
        found.add(name)
        path = _file(root, name)
        assert path is not None
        named = {*_read(path).imports, name.rpartition(".")[0]}  # and the package above it
        todo += [n for n in named if n.split(".")[0] in OURS and _file(root, n)]
    return found


def code_hash(modules: list[str], root: Path) -> dict[str, str]:
    """Module -> hash of its syntax tree, over the closure of `modules`."""
    names = set().union(*(closure(m, root) for m in modules))
    return {name: _read(path).hash for name in sorted(names) if (path := _file(root, name))}


def modules_of(name: str, root: Path) -> list[str]:
    """What runs under the name: the stage `name`, pre-training by the method `name`, or the making
    of a teacher or a tokenizer of the kind after `teacher-` or `tokenizer-`.
    """
    what, _, kind = name.partition("-")
    if what in MADE and (root / "mimflow" / f"{what}s" / f"{kind}.py").exists():
        return [f"stages.{what}s", f"mimflow.{what}s.{kind}"]
    if (root / "stages" / f"{name}.py").exists():
        return [f"stages.{name}"]
    if (root / "mimflow" / "methods" / f"{name}.py").exists():
        return ["stages.pretrain", f"mimflow.methods.{name}"]
    raise ValueError(
        f"code/{name}.json: there is no stages/{name}.py and no mimflow/methods/{name}.py"
    )


@cache
def told(name: str, root: Path) -> str:
    """What `code/<name>.json` holds by the sources in the folder `root`. Raises ValueError where
    there are none.
    """
    return canonical(code_hash(modules_of(name, root), root)).decode()


def refresh(outs: Iterable[str], root: Path) -> None:
    """Writes each `code/<name>.json` among `outs` that is missing or no longer right; leaves the
    others alone.
    """
    for out in outs:
        path = root / out
        if path.stem == "made":
            continue
        data = told(path.stem, root).encode()
        if not path.exists() or path.read_bytes() != data:
            write(path, data)


def _file(root: Path, module: str) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists():
            return path
    return None


class _Source(NamedTuple):
    """A file: the hash of what it says, and what it names in imports anywhere."""

    hash: str
    imports: frozenset[str]


@cache
def _read(path: Path) -> _Source:
    tree = ast.parse(path.read_bytes())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            value = first.value if isinstance(first, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                node.body = node.body[1:]
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    native = path.with_suffix(".c")  # what the module compiles
    beside = native.read_bytes() if native.exists() else b""
    told = hashlib.sha256(ast.dump(tree).encode() + beside).hexdigest()[:16]
    return _Source(told, frozenset(names))
