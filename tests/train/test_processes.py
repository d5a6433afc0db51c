"""One run on 1, 2 or 4 processes, in 1, 2 or 4 micro-batches, by DDP or FSDP2: the same training.

The processes are real and meet by gloo. One call of torchrun trains all cases of a number of
processes, since starting is what takes time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import tokenizer_of
from toy import make_shards

from mimflow.backbones.vit import build_vit
from mimflow.encoder import described, save_encoder
from mimflow.params.check import parse, schema_of
from mimflow.params.read import read_yaml

HERE = Path(__file__).parent
ZOO = read_yaml(HERE.parents[1] / "presets/zoo.yaml")
MOVING = ("ibot", "attmask", "vqkd")  # their targets sharpen and move: in 30 steps no loss falls
SHARE = ("rank", "similarity", "target_std", "centre_entropy")  # of a micro-batch alone
SINGLE = ("simmim_vit", "lomar", "fastmim", "beit", "mcbeit", "vqkd", "pixels")  # each divided once
SHARED = ("sgd", "tried", "saves")  # the optimiser, a trial for memory, a save whenever it may be
CASES = {
    1: [
        "mae-ddp-1",
        "mae-ddp-2",
        "mae-ddp-4",
        "uneven-ddp-1",
        "uneven-ddp-4",
        "coupled-ddp-1",
        "coupled-ddp-2",
        "coupled-ddp-4",
        "ibot-ddp-1",
        "ibot-ddp-4",
        "attmask-ddp-1",
        "attmask-ddp-2",
        *(f"{name}-ddp-1" for name in SINGLE),
        *(f"{name}-ddp-1" for name in SHARED),
    ],
    2: [
        "mae-ddp-1",
        "mae-ddp-2",
        "mae-fsdp-1",
        "mae-fsdp-4",
        "uneven-ddp-2",
        "uneven-fsdp-2",
        "coupled-ddp-1",
        "coupled-ddp-2",
        "coupled-fsdp-4",
        "ibot-ddp-2",
        "ibot-fsdp-1",
        "attmask-ddp-1",
        "attmask-fsdp-2",
        *(f"{name}-ddp-2" for name in SINGLE),
        *(f"{name}-fsdp-2" for name in SHARED),
    ],
    4: [
        "mae-ddp-2",
        "mae-fsdp-1",
        "uneven-ddp-4",
        "uneven-fsdp-1",
        "coupled-ddp-4",
        "coupled-fsdp-1",
        "ibot-ddp-2",
        "attmask-fsdp-1",
    ],
}


def columns(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def losses(path: Path) -> list[float]:
    return columns(json.loads(path.read_text()))["loss"]


def save_network(path: Path) -> None:
    """The encoder of the zoo's MAE, with drawn weights: what vqkd and its like look through."""
    run: Any = parse(schema_of("mae"), ZOO["runs"]["mae"], "runs.mae")
    encoder = build_vit(run.encoder.name, run.encoder.timm())
    card = {**described(run.encoder), "mean": [0.5] * 3, "std": [0.25] * 3}
    save_encoder(path, encoder, card)


def launch(processes: int, data: Path, out: Path, cases: list[str]) -> None:
    """`several.py` by torchrun."""
    environment = os.environ | {
        "CI": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(HERE.parents[1]),
    }
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    if processes == 1:
        start = []
    command = [sys.executable, *start, str(HERE / "several.py"), str(data), str(out), *cases]
    done = subprocess.run(
        command, env=environment, cwd=out, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def curves(
    tmp_path_factory: pytest.TempPathFactory, out: Path
) -> dict[str, list[dict[str, float]]]:
    """case-processes -> the numbers of each of 30 steps."""
    data = tmp_path_factory.mktemp("data")
    make_shards(data)
    for name in ("dvae", "vqgan"):
        tokenizer_of(64, 32, 4, out / "tokenizers" / name)
    save_network(out / "runs/mae/encoder.safetensors")
    for processes, cases in CASES.items():
        launch(processes, data, out, cases)
    return {p.stem: json.loads(p.read_text()) for p in out.glob("*.json")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [f"{c}-{n}" for n, cases in CASES.items() for c in cases if f"{c}-{n}"[-6:] != "-ddp-1-1"],
)
def test_every_division_of_the_batch_gives_the_same_numbers(
    curves: dict[str, list[dict[str, float]]], case: str
) -> None:
    name = case.split("-")[0]
    reference = columns(curves[f"{name}-ddp-1-1"])
    losses, ours = reference.pop("loss"), columns(curves[case])
    assert len(set(losses)) == 30
    if name not in MOVING:
        assert losses[-1] < losses[0]
    np.testing.assert_allclose(ours.pop("loss"), losses, rtol=1e-5)
    assert ours.keys() == reference.keys()
    for number in reference.keys() - set(SHARE):
        np.testing.assert_allclose(ours[number], reference[number], 1e-4, 1e-8, err_msg=number)


@pytest.mark.slow
def test_several_processes_save_once_for_each_wish(curves: dict[str, Any], out: Path) -> None:
    alone, both = (
        json.loads((out / f"saves-{how}.saved").read_text()) for how in ("ddp-1-1", "fsdp-2-2")
    )
    assert alone == list(range(1, 31))
    # All wish to save after each step, and hear of it one step later: every other step at most.
    assert len(both) >= 14 and min(b - a for a, b in pairwise(both[:-1])) == 2


@pytest.mark.slow
def test_all_resume_from_what_the_first_process_sees(tmp_path: Path) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = [str(HERE / "differing.py"), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    subprocess.run([sys.executable, *command, *script], env=environment, check=True, timeout=200)
    assert [json.loads((tmp_path / f"{n}.json").read_text()) for n in (0, 1)] == [[None, 3]] * 2


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_checkpoint_of_two_processes_resumes_on_one_and_one_of_one_on_two(
    tmp_path: Path, parallel: str
) -> None:
    make_shards(tmp_path)
    launch(1, tmp_path, tmp_path, ["mae-ddp-1"])
    whole = losses(tmp_path / "mae-ddp-1-1.json")
    (tmp_path / "mae-ddp-1-1.json").unlink()
    for first, then in ((2, 1), (1, 2)):
        launch(first, tmp_path, tmp_path, [f"mae-{parallel}-1-stop"])
        state = next((tmp_path / "state-mae").glob("*.pt"))
        done = torch.load(state, weights_only=True)["step"]
        assert 0 < done < 30
        launch(then, tmp_path, tmp_path, [f"mae-{parallel}-1"])
        resumed = losses(tmp_path / f"mae-{parallel}-1-{then}.json")
        np.testing.assert_allclose(resumed, whole, rtol=1e-5)
