"""25 short pre-trainings, each killed by SIGKILL and started again, against one that was not.

Real stages of the toy preset in a folder of their own: 15 are killed once at a random moment, 5
within the write of a checkpoint, 5 twice. Encoder, optimiser state and losses must be equal to the
bit. Then SIGTERM: the exit code must be 75 and no step lost. From the root: make bench-resume
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLES = 64_000  # 2,000 steps: seconds
CHECKPOINTS = 0.05  # seconds between them
ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    "MIMFLOW_CHECKPOINT_SECONDS": str(CHECKPOINTS),
    "MIMFLOW_KEEP_STATE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "CI": "1",
}


def prepare(folder: Path) -> None:
    """The toy workflow in `folder`, up to the shards."""
    for name in ("mimflow", "stages", "workflow", "data"):
        skipped = shutil.ignore_patterns("raw", "shards", "__pycache__", "*.arrow")
        shutil.copytree(ROOT / name, folder / name, ignore=skipped)
    shutil.copy(ROOT / "dvc.yaml", folder)
    text = (ROOT / "presets/toy.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("samples: 3200", f"samples: {SAMPLES}"))
    for stage in ("code", "shards"):
        subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=folder, check=True)


def start(folder: Path) -> subprocess.Popen[str]:
    """The stage, from its newest state on."""
    command = [sys.executable, "-m", "stages.pretrain", "mae"]
    pipe = subprocess.PIPE
    environment = os.environ | ENVIRONMENT
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=pipe, text=True)


def clear(folder: Path) -> None:
    """As if the run had never been."""
    for path in (*folder.glob("state/pretrain-*"), folder / "runs"):
        shutil.rmtree(path, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("state/pretrain-*/[0-9]*.pt"))


def kill_at(folder: Path, process: subprocess.Popen[str], moment: float) -> None:
    """SIGKILL `moment` seconds after the first checkpoint of this process."""
    before = checkpoints(folder)[-1:]
    while process.poll() is None and checkpoints(folder)[-1:] == before:
        time.sleep(0.002)
    time.sleep(moment)
    process.kill()
    process.wait()


def kill_in_write(folder: Path, process: subprocess.Popen[str]) -> bool:
    """SIGKILL while a checkpoint is being written; whether its half was left behind."""
    wait_until = time.monotonic() + 60
    seen = 0
    while process.poll() is None and time.monotonic() < wait_until:
        if any(folder.glob("state/pretrain-*/.*.tmp")):
            seen += 1
            if seen > 2:  # not the first: there is one to go back to
                process.kill()
                break
            while any(folder.glob("state/pretrain-*/.*.tmp")):
                pass
    process.wait()
    return any(folder.glob("state/pretrain-*/.*.tmp"))


def result(folder: Path) -> tuple[bytes, bytes, dict[str, object]]:
    """Encoder, losses, and the last state: weights, moments, curve."""
    import torch

    state = torch.load(checkpoints(folder)[-1], weights_only=True)
    run = folder / "runs/mae"
    return (run / "encoder.safetensors").read_bytes(), (run / "losses.csv").read_bytes(), state


def equal(one: object, two: object) -> bool:
    """Bit for bit, tensors within dictionaries and lists."""
    import torch

    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(equal(one[k], two[k]) for k in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two


def killed_run(folder: Path, kind: str, duration: float) -> tuple[int, bool]:
    """How often it was killed, and whether a half-written checkpoint was left behind."""
    clear(folder)
    kills, torn = 0, False
    while kills < (2 if kind == "twice" else 1):
        process = start(folder)
        if kind == "write":
            torn = kill_in_write(folder, process)
            if not torn:  # the write was over first
                clear(folder)
                continue
        else:
            kill_at(folder, process, random.uniform(0, duration / 2))
        kills += process.returncode == -signal.SIGKILL
        if process.returncode == 0:  # it was done first
            clear(folder)
            kills = 0
    end = start(folder)
    end.communicate()
    assert end.returncode == 0
    return kills, torn


def main() -> None:
    """Prints a line for each run, then the count; ends with 1 if one differs."""
    random.seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        process = start(folder)
        before = time.monotonic()
        process.communicate()
        assert process.returncode == 0
        duration = max(time.monotonic() - before - 4, 1.0)  # less the start
        reference = result(folder)
        good = 0
        for i, kind in enumerate(["once"] * 15 + ["write"] * 5 + ["twice"] * 5):
            kills, torn = killed_run(folder, kind, duration)
            same = equal(list(reference), list(result(folder)))
            good += same
            said = "equal" if same else "DIFFERENT"
            print(f"{i + 1:2d} {kind:5s} kills {kills} torn {torn!s:5s} {said}", flush=True)
        print(f"{good} of 25 equal to the bit: encoder, optimiser state, losses")
        clear(folder)
        process = start(folder)
        while not checkpoints(folder):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
        print(f"SIGTERM: exit {process.returncode}; {said.strip().splitlines()[-1]}")
        again = start(folder)
        again.communicate()
        same = equal(list(reference), list(result(folder)))
        print(f"then to the end: {'equal' if same else 'DIFFERENT'}")
        if good < 25 or not same or process.returncode != 75:
            sys.exit(1)


if __name__ == "__main__":
    main()
