"""What the Snakefile asks of dvc.yaml: each rule's files, parameters and command; the plan; the
record in DVC.

The output of an expensive stage is recognised by content, not by time: code hashes are refreshed at
parse, only where they changed, so that Snakemake sees an input change exactly when the code did.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from mimflow import code as sources
from mimflow.files import write
from mimflow.hashes import Hashes
from mimflow.params.check import check
from mimflow.params.read import read_yaml
from mimflow.stage import (
    SOURCES,
    Stage,
    load,
    made_json,
    outputs_of,
    owners,
    remote_identity,
    says_made,
)

# The log has everything; of a failure the terminal shows the end. It is held open: a job that was
# requeued while its old process lives on has another one of the same name.
_LOGGED = (
    "exec 3> {log} 4< {log}\n"
    "%s >&3 2>&1 3>&- 4<&- || {{ code=$?; tail -n 20 <&4 >&2; exit $code; }}"
)
SHELL = _LOGGED % "{params.command}"
LAUNCH = "export MIMFLOW_PROCESSES={resources.processes}\n" + SHELL  # 0: as many as there are GPUs
_SHARDS = "export MIMFLOW_SHARDS=state/shards-{params.parts}\n"
SHARDS = _SHARDS + SHELL
PART = _SHARDS + _LOGGED % "{params.command} --part {resources.part}/{resources.parts}"


def refuse(message: str) -> NoReturn:
    """Ends the program with one line: no traceback, nothing started."""
    print(message, file=sys.stderr, flush=True)
    os._exit(2)  # SystemExit would pass through Snakemake's handler, which adds a report of its own


def plan(main: bool) -> dict[str, Stage]:
    """The stages of a checked params.yaml, with fresh code hashes.

    The main process hands every stage's recipe down to the jobs through the environment: a job
    whose parameters or code changed while it waited refuses to run.
    """
    try:
        params = read_yaml(Path("params.yaml"))
        check(params)
        stages = load(params)
        if main:
            refresh_code(stages)
            os.environ["MIMFLOW_RECIPES"] = json.dumps(
                {s.name: s.recipe() for s in stages.values()}
            )
        elif set(json.loads(os.environ.get("MIMFLOW_RECIPES", "{}"))) - set(stages):
            print("params.yaml changed since this job was planned", file=sys.stderr)
        return stages
    except ValueError as error:
        refuse(str(error))


def refresh_code(stages: dict[str, Stage]) -> None:
    """Does the stage `code`, in place: its outputs change only where the code did."""
    stage = stages["code"]
    sources.refresh(stage.outs, Path())
    hashes = Hashes()
    facts = stage.made_by(owners(stages), hashes)
    made = made_json({**facts, "outputs": outputs_of(stage, hashes)})
    if not stage.made_file.exists() or stage.made_file.read_bytes() != made:
        write(stage.made_file, made)


def files_of(path: str, stages: dict[str, Stage]) -> list[str]:
    """A path of dvc.yaml as the files that Snakemake watches.

    A folder of shards is known by its files; a folder that holds several stages' outputs is these
    outputs.
    """
    if path == "data/shards":
        count = stages["shards"].params("data")["num_shards"]
        return [f"{path}/{i:05d}.arrow" for i in range(count)]
    section, _, key = path.removesuffix("/shards").partition("/")
    if section == "targets" and path.endswith("/shards"):
        how = stages[f"targets@{key}"].params(f"targets.{key}")
        return [f"{path}/{i:05d}.bin" for i in range(how["crops"] * how["num_shards"])]
    below = [out for out in owners(stages) if out.startswith(path + "/") and not says_made(out)]
    return below or [path]


def shard_files(stages: dict[str, Stage], part: int, parts: int) -> list[str]:
    """The shards of a part."""
    return files_of("data/shards", stages)[part::parts]


def _expanded(paths: tuple[str, ...], stages: dict[str, Stage]) -> list[str]:
    local = (path for path in paths if path not in SOURCES and "://" not in path)
    return [file for path in local for file in files_of(path, stages)]


def all_outputs(stages: dict[str, Stage]) -> list[str]:
    """Every output of every stage, those that git keeps and those that DVC keeps."""
    return [f for s in stages.values() if s.kind != "code" for f in _expanded(s.outs, stages)]


def _of(stages: dict[str, Stage], kind: str) -> list[Stage]:
    return [s for s in stages.values() if s.kind == kind]


def keys(stages: dict[str, Stage], kind: str) -> str:
    """The keys of a stage as an expression that a wildcard must match."""
    return "|".join(s.key or "" for s in _of(stages, kind))


def tasks(stages: dict[str, Stage]) -> list[str]:
    """The tasks that evaluate something, in the order of dvc.yaml."""
    made = [s.kind for s in stages.values() if any(o.startswith("metrics/") for o in s.outs)]
    return list(dict.fromkeys(made))


def _at(stages: dict[str, Stage], kind: str, wildcards: Any) -> Stage:
    if "@" in kind:
        return stages[kind]
    key = getattr(wildcards, "key", None)
    return stages[kind if key is None else f"{kind}@{key}"]


def inputs(stages: dict[str, Stage], kind: str) -> Callable[[Any], list[str]]:
    """The input function of the rule `kind`."""
    return lambda wildcards: _expanded(_at(stages, kind, wildcards).deps, stages)


def outputs(stages: dict[str, Stage], kind: str, beside: str = "") -> list[str]:
    """The outputs of the rule `kind` beside a folder, `{key}` standing for its key."""
    patterns = _of(stages, kind)[0].patterns
    return _expanded(tuple(p for p in patterns if p != beside), stages)


def of_one(stages: dict[str, Stage], name: str) -> list[str]:
    """The outputs of one stage, where their number is its own."""
    return _expanded(stages[name].outs, stages)


def recipe(stages: dict[str, Stage], kind: str) -> Callable[[Any], str]:
    """Parameters and code as one hash: Snakemake runs a rule again when it changes."""
    return lambda wildcards: _at(stages, kind, wildcards).recipe()


def command(stages: dict[str, Stage], kind: str) -> Callable[[Any], str]:
    """The command of dvc.yaml."""
    return lambda wildcards: _at(stages, kind, wildcards).command


def threads(stages: dict[str, Stage], kind: str) -> Callable[[Any], int]:
    """The parameter `threads`, which a stage sets for itself."""
    return lambda wildcards: _at(stages, kind, wildcards).threads


def listing(stages: dict[str, Stage]) -> str:
    """The content of a source folder: Snakemake sees its own time only. What was hashed before is
    known by its size and time.

    A URL, which it does not see at all, is asked once, by the process that plans; jobs inherit.
    """
    place = stages["shards"].params("data")["source"]
    if "://" in place:
        return _remote_listing(place)
    source = Path(place)
    return Hashes().of(source) if source.is_dir() else ""


def _remote_listing(url: str) -> str:
    if "MIMFLOW_LISTING" not in os.environ:
        try:
            os.environ["MIMFLOW_LISTING"] = remote_identity(url)
        except (ValueError, OSError) as error:
            refuse(str(error))
    return os.environ["MIMFLOW_LISTING"]


def handed_down(name: str, main: bool, make: Callable[[], str]) -> str:
    """What the main process makes once and its jobs find in their environment under `name`."""
    if main or name not in os.environ:
        os.environ[name] = make()
    return os.environ[name]


def parts_of(stages: dict[str, Stage], listing: str) -> str:
    """Where the parts of `shards` meet: a name for its parameters, its code and its source."""
    return hashlib.sha256(f"{stages['shards'].recipe()} {listing}".encode()).hexdigest()[:16]


def tell(stages: dict[str, Stage], since: float) -> None:
    """The end of the logs of each stage that began after `since` and is not complete."""
    for stage in stages.values():
        if not stage.made_file.exists():
            for log in _logs(stage, since):
                lines = log.read_text(errors="replace").splitlines()[-20:]
                text = "\n".join(lines)
                print(f"\n{stage.name} is not made; the end of {log}:\n{text}", file=sys.stderr)


def _logs(stage: Stage, since: float) -> list[Path]:
    """What a stage said after `since`; else what SLURM keeps of a job that did not come so far."""
    place = Path("logs", *stage.name.split("@"))
    jobs = Path("logs/slurm", f"rule_{stage.kind}", stage.key or "").glob("*.log")
    for logs in ([place.with_suffix(".log"), *place.glob("*.log")], sorted(jobs)[-1:]):
        fresh = [p for p in logs if p.exists() and p.stat().st_size and p.stat().st_mtime > since]
        if fresh:
            return fresh
    return []


def record(unlock: Callable[[], None]) -> None:
    """After a run: what Snakemake made goes on record in DVC. Fails the run if it can not, and
    leaves the folder unlocked.
    """
    if "MIMFLOW_TOUCH" not in os.environ:  # the bridge itself called
        how = [] if "MIMFLOW_TOOK_OVER" in os.environ else ["--no-touch"]  # mimflow/queue.py
        code = subprocess.run([sys.executable, "-m", "mimflow", "sync", *how]).returncode
        if code:
            unlock()
            refuse("not everything could be recorded in DVC")
