"""Without centring iBOT gives all images one code within a hundred steps, and the log says so; with
it, it does not.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from toy import LIMIT, ROOT, make_shards

from mimflow.backbones.vit import fuse_attention
from mimflow.data.augment import finish
from mimflow.data.loader import Batches
from mimflow.methods import ibot
from mimflow.params.ibot import IBOTParams
from mimflow.params.read import read_yaml
from mimflow.ranks import Processes
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.loop import train
from mimflow.train.record import Record

STEPS = 60


def run_of(centre_momentum: float) -> IBOTParams:
    """The zoo's run with a fast copy, a high rate and no local crops."""
    values = copy.deepcopy(read_yaml(ROOT / "presets/zoo.yaml")["runs"]["ibot"])
    values |= {"samples": 32 * STEPS, "colour": None}
    values["compute"]["threads"] = 1
    values["crops"]["count"] = values["distil"]["freeze_epochs"] = 0
    values["optimiser"]["base_lr"], values["distil"]["momentum"] = 2e-2, 0.9
    for term in ("classes", "patches"):
        values["distil"][term]["centre_momentum"] = centre_momentum
        values["distil"][term]["temperature"] = [0.04, 0.04]
    return IBOTParams.model_validate(values)


@pytest.mark.slow
@pytest.mark.parametrize(("centre_momentum", "collapses"), [(1.0, True), (0.9, False)])
def test_without_centring_all_images_get_one_code_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, centre_momentum: float, collapses: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CI", "1")
    shards, run, cpu = make_shards(tmp_path), run_of(centre_momentum), torch.device("cpu")
    torch.manual_seed(run.seed)
    method = ibot.build(run)
    fuse_attention(method, cpu, backward=True)
    batches = Batches(shards, ibot.views(run), run.batch, run.seed, LIMIT, 0, 1)
    alone = Processes(0, 1, 0)
    record, keep = Record("pretrain", "toy", cpu, alone), Checkpoints(Path("state"))
    rows = train(method, batches, finish(shards.mean, shards.std, cpu), run, keep, record, alone)
    events = [json.loads(x) for x in Path("logs/pretrain/toy.jsonl").read_text().splitlines()]
    warnings = [e["why"] for e in events if e["event"] == "warning"]
    last = sum(row["centre_entropy"] for row in rows[-10:]) / 10
    if collapses:
        assert last < 0.25 and any("centre_entropy" in w and "centring" in w for w in warnings)
    else:
        assert last > 0.5 and not any("centre_entropy" in w for w in warnings)
