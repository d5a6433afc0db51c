"""MoCo v3 as its reference code has it, and the invariants of its sheet."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import BUDGET, COMPUTE, VIT, place, saved
from torch import Tensor, nn
from toy import make_shards

from mimflow.data.augment import finish
from mimflow.data.shards import Shards
from mimflow.draw import Draw
from mimflow.params.check import parse
from mimflow.params.mocov3 import MoCoTeacher
from mimflow.teachers.mocov3 import (
    MoCoV3,
    build,
    contrast,
    layers,
    make,
    momentum_at,
    views,
)
from mimflow.train.clock import Clock
from mimflow.train.outcome import Interrupted

CPU = torch.device("cpu")
CROP = {"kind": "crop", "amount": 0.2, "flip": True}
COLOUR = {"jitter": [0.4, 0.4, 0.2, 0.1], "jitter_share": 0.8, "grey": 0.2}
COLOUR |= {"blur": [1.0, 0.1, 0.0], "radius": [0.1, 2.0], "solarise": [0.0, 0.2, 0.0]}
MOCO = {
    **BUDGET,
    "kind": "mocov3",
    "encoder": VIT,
    "augment": CROP,
    "colour": COLOUR,
    "temperature": 0.2,
}
MOCO |= {"heads": {"hidden": 48, "out": 16}, "momentum": 0.99}


def params(**changes: Any) -> MoCoTeacher:
    parsed = parse(MoCoTeacher, {**MOCO, **changes}, "teachers.t")
    assert isinstance(parsed, MoCoTeacher)
    return parsed


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return make_shards(tmp_path_factory.mktemp("data"))


class Toy(nn.Module):
    """The reference's toy encoder: tanh of one linear map, as a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.fc0 = nn.Linear(12, 16)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.fc0(x).tanh()[:, None]


def test_the_loss_and_its_gradient_equal_the_reference(golden: Any) -> None:
    reference = golden("mocov3_loss")
    q1, q2 = (reference[f"in.{q}"].clone().requires_grad_() for q in ("q1", "q2"))
    one, _ = contrast(q1, reference["in.k2"], 0.2)
    two, _ = contrast(q2, reference["in.k1"], 0.2)
    (one + two).backward()
    for ours, key in ((one, "loss_q1k2"), (two, "loss_q2k1"), (one + two, "loss")):
        torch.testing.assert_close(ours.detach(), reference[key], rtol=1e-5, atol=0)
    for q, key in ((q1, "grad.q1"), (q2, "grad.q2")):
        torch.testing.assert_close(q.grad, reference[key], rtol=1e-3, atol=1e-6)


def theirs(name: str) -> str:
    """Our name of a tensor as the reference has it."""
    for ours, base in (("", "base_encoder"), ("slow_", "momentum_encoder")):
        name = (
            name.replace(f"{ours}encoder.fc0", f"{base}.fc0")
            if name.startswith(f"{ours}encoder.")
            else name
        )
        if name.startswith(f"{ours}projector."):
            name = f"{base}.head.{name.removeprefix(f'{ours}projector.')}"
    return name


def test_the_two_branch_step_equals_the_reference(golden: Any) -> None:
    reference = golden("mocov3_loss")
    before = reference.group("model.state_before")
    method = MoCoV3(Toy(), layers([16, 24, 24, 8]), layers([8, 24, 8]), 0.2, 0.9)
    state = method.state_dict()
    assert {theirs(key) for key in state} == set(before)
    method.load_state_dict({key: before[theirs(key)] for key in state})
    batch = {"image": reference["model.x1"], "second": reference["model.x2"]}
    out = method(batch, Draw(torch.arange(5), "x"), Clock(0, 10, 0.0, 1.0))
    out["loss"].backward()
    torch.testing.assert_close(out["loss"].detach(), reference["model.loss"], rtol=1e-5, atol=0)
    gradients = reference.group("model.grad")
    found = {theirs(n): p.grad for n, p in method.named_parameters() if p.grad is not None}
    assert set(found) == set(gradients)
    for name, expected in gradients.items():
        largest = float(expected.abs().max())
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-5 * largest)
    after = reference.group("model.state_after")
    ours = {theirs(key): x for key, x in method.state_dict().items()}
    for name, expected in after.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-4, atol=1e-6)


def batch_of(shards: Shards, run: MoCoTeacher, count: int = 32) -> dict[str, Tensor]:
    images = [shards.pixels(i, 1 << 20) for i in range(count)]
    drawn = views(run)(images, Draw(np.arange(count), "views", 0), 0)
    render = finish(shards.mean, shards.std, CPU)
    return render({key: torch.as_tensor(x) for key, x in drawn.items()})


CLOCK = Clock(0, 10, 0.0, 1.0)


def test_the_loss_begins_near_that_of_chance_and_no_key_has_a_gradient(shards: Shards) -> None:
    run = params()
    torch.manual_seed(0)
    method = build(run)
    out = method(batch_of(shards, run), Draw(torch.arange(32), "x"), CLOCK)
    chance = 2 * 2 * 0.2 * math.log(32)
    assert abs(float(out["loss"].detach()) - chance) < 0.35 * chance
    out["loss"].backward()
    slow = [p for n, p in method.named_parameters() if n.startswith("slow_")]
    assert slow and all(p.grad is None and not p.requires_grad for p in slow)


def test_the_patch_embedding_stays_and_everything_else_of_the_encoder_learns(
    shards: Shards,
) -> None:
    run = params()
    method = build(run)
    method(batch_of(shards, run), Draw(torch.arange(32), "x"), CLOCK)["loss"].backward()
    still = {n for n, p in method.encoder.named_parameters() if p.grad is None}
    assert still == {"patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed"}


def test_the_first_weights_are_the_references() -> None:
    torch.manual_seed(0)
    vit: Any = build(params()).encoder
    bound = math.sqrt(6 / 48)
    assert 0.9 * bound < float(vit.blocks[0].attn.qkv.weight.detach().abs().max()) <= bound
    assert float(vit.cls_token.detach().abs().max()) < 1e-5
    table = vit.pos_embed[0, 1:].unflatten(0, (4, 4))  # (row, column, D)
    assert torch.equal(table[2, 0, :12], table[2, 3, :12])  # the first half knows the row alone
    assert torch.equal(table[0, 2, 12:], table[3, 2, 12:])


def test_the_momentum_goes_from_its_start_to_one() -> None:
    values = [momentum_at(Clock(i, 10, 0.0, 1.0), 0.99) for i in range(11)]
    assert values[0] == 0.99 and values[-1] == 1 and values == sorted(values)
    assert values[5] == pytest.approx(0.995)


def test_the_slow_network_moves_before_the_keys_are_made(shards: Shards) -> None:
    run = params(momentum=0.0)
    method = build(run)
    with torch.no_grad():
        for p in method.encoder.parameters():
            p.add_(0.01)
    method(batch_of(shards, run), Draw(torch.arange(32), "x"), CLOCK)
    pairs = zip(method.slow_encoder.parameters(), method.encoder.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_chunks_change_neither_loss_nor_gradient(shards: Shards) -> None:
    run = params()
    torch.manual_seed(0)
    method = build(run)
    batch, found = batch_of(shards, run), []
    for chunk in (None, 8):
        one = copy.deepcopy(method)
        one.chunk = chunk
        loss = one(batch, Draw(torch.arange(32), "x"), CLOCK)["loss"]
        loss.backward()
        found.append((loss.detach(), [p.grad for p in one.parameters() if p.grad is not None]))
    torch.testing.assert_close(found[0][0], found[1][0])
    # What is added before a batch norm has no gradient but rounding: of the largest of all.
    largest = max(float(a.abs().max()) for a in found[0][1])
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6 * largest)


def test_views_differ_from_each_other_and_depend_on_the_sample_alone(shards: Shards) -> None:
    run = params()
    images = [shards.pixels(i, 1 << 20) for i in range(8)]
    whole = views(run)(images, Draw(np.arange(8), "views", 0), 0)
    part = views(run)(images[4:], Draw(np.arange(4, 8), "views", 0), 7)
    assert all(np.array_equal(x[4:], part[key]) for key, x in whole.items())
    assert not np.array_equal(whole["image"], whole["second"])
    batch = batch_of(shards, run)
    assert all(batch[name].isfinite().all() for name in ("image", "second"))


def test_a_teacher_is_trained_resumed_in_equal_bits_and_saved(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = make(params(), place(shards, Path("whole"))).encoder.state_dict()
    monkeypatch.setenv("MIMFLOW_SECONDS", "0")
    with pytest.raises(Interrupted):
        make(params(), place(shards, Path("parts")))
    monkeypatch.delenv("MIMFLOW_SECONDS")
    made = make(params(), place(shards, Path("parts")))
    assert all(torch.equal(x, whole[key]) for key, x in made.encoder.state_dict().items())
    teacher = saved(made, shards, tmp_path / "t", "mocov3")
    assert teacher.card["attention"] and not teacher.card["renormalised"]
    vit: Any = teacher.held[0]
    assert torch.equal(vit.pos_embed, whole["pos_embed"])  # its own table, rows first


def test_sharded_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="'fsdp' is not for MoCo v3"):
        params(compute={**COMPUTE, "parallel": "fsdp"})
