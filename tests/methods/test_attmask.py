"""AttMask: what is hidden follows the teacher's attention; the objective is iBOT's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_ibot import CLOCK, COUNT, PATCHES, batch_of, draw

from mimflow.backbones.crops import attended
from mimflow.draw import Draw
from mimflow.methods.attmask import AttMask, build
from mimflow.params.attmask import AttMaskParams
from mimflow.params.read import read_yaml

RUNS = read_yaml(Path(__file__).parents[2] / "presets/zoo.yaml")["runs"]
KINDS = ("high", "hint", "low")


def built(patches: float = 1.0, **masking: Any) -> AttMask:
    values = copy.deepcopy(RUNS["attmask"])
    values["masking"] |= masking
    values["distil"]["patches"]["weight"] = patches
    torch.manual_seed(0)
    return build(AttMaskParams.model_validate(values))


def attention(rows: int = 2 * COUNT) -> Tensor:
    noise = torch.rand(rows, PATCHES, generator=torch.Generator().manual_seed(4))
    return noise.softmax(-1)


def ratio_of(method: AttMask, draw: Draw, name: str) -> float:
    u = draw.shared().uniform(name, 1).double().item()
    return 0.3 + 0.2 * (2 * u - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_the_whole_part_of_the_steps_ratio_or_zero(kind: str) -> None:
    method = built(kind=kind)
    for step in range(20):
        own = Draw(torch.arange(COUNT), "step", step)
        mask = method.mask(attention(), own)
        count = int(64 * ratio_of(method, own, "ratio"))
        if kind == "hint":  # int(0.1 * 64) = 6 patches, a few of them shown again
            count -= int(0.1 * ratio_of(method, own, "hint.ratio") * 64)
        assert set(mask.sum(1).tolist()) <= {0, count}


def test_high_hides_what_is_attended_most_low_what_least_and_hint_shows_some_again() -> None:
    masks = {kind: built(kind=kind, probability=1.0).mask(attention(), draw()) for kind in KINDS}
    for a, high, hint, low in zip(attention(), *(masks[k] for k in KINDS), strict=True):
        assert a[high].min() >= a[~high].max() and a[low].max() <= a[~low].min()
        shown = high & ~hint
        assert (hint <= high).all() and (a[shown] >= a.sort(descending=True).values[5]).all()


def test_half_of_the_crops_are_masked_each_crop_by_itself() -> None:
    method = built(kind="high")
    rows = Draw(torch.arange(2000), "step", 0)
    first, second = method.mask(attention(4000), rows).any(1).split(2000)
    for masked in (first, second):
        assert masked.float().mean().item() == pytest.approx(0.5, abs=0.04)
    both = (first & second).float().mean().item()
    assert both == pytest.approx(0.25, abs=0.04)


def test_every_part_of_a_batch_has_the_ratio_of_the_step() -> None:
    method = built(kind="hint")
    whole = method.mask(attention(), Draw(torch.arange(COUNT), "step", 3))
    a = attention().unflatten(0, (2, COUNT))
    part = method.mask(a[:, 2:5].flatten(0, 1), Draw(torch.arange(2, 5), "step", 3))
    assert torch.equal(part, whole.unflatten(0, (2, COUNT))[:, 2:5].flatten(0, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_teacher_sees_each_global_crop_once_and_the_mask_is_of_that_pass(kind: str) -> None:
    method, passes = built(kind=kind, probability=1.0), list[Tensor]()
    blocks: Any = method.ibot.encoder.blocks
    blocks.register_forward_pre_hook(lambda module, inputs: passes.append(inputs[0]))
    masks: list[Tensor] = []
    plain = method.mask
    method.mask = lambda *a: masks.append(plain(*a)) or masks[-1]  # type: ignore[method-assign, func-returns-value]
    out = method(batch_of(), draw(), CLOCK)
    assert [x.shape[0] for x in passes] == [2 * COUNT]
    assert out["mask_ratio"] == masks[0].float().mean() and 0.05 < out["mask_ratio"] < 0.5
    out["loss"].backward()
    assert all(p.grad is None for p in method.ibot.encoder.parameters())


def test_the_losses_are_ibots_for_the_same_mask() -> None:
    method, batch = built(kind="high"), batch_of()
    out = method(batch, draw(), CLOCK)
    with torch.no_grad():
        images = torch.cat([batch["image"], batch["second"]])
        mask = method.mask(attended(method.ibot.encoder, images)[1], draw())
    again = method.ibot(batch | {"mask": mask.unflatten(0, (2, -1)).transpose(0, 1)}, draw(), CLOCK)
    assert out.keys() == again.keys()
    for key, x in again.items():
        torch.testing.assert_close(out[key], x)


def test_without_masks_the_patch_loss_is_zero_and_the_class_loss_is_dinos() -> None:
    method = built(kind="high", probability=0.0)
    out = method(batch_of(), draw(), CLOCK)
    dino = method.ibot(batch_of(hidden=0), draw(), CLOCK)
    assert out["patch_loss"] == 0 and out["mask_ratio"] == 0
    assert torch.equal(out["class_loss"], dino["class_loss"])


def test_in_plain_self_distillation_the_mask_stays_at_the_students_input() -> None:
    method = built(patches=0.0, kind="high", probability=1.0)
    out = method(batch_of(), draw(), CLOCK)
    assert torch.equal(out["loss"], out["class_loss"]) and out["patch_loss"] == 0
    unmasked = method.ibot(batch_of(hidden=0), draw(), CLOCK)
    assert out["class_loss"] != unmasked["class_loss"]
    out["loss"].backward()
    assert method.ibot.mask_token.grad is not None and method.ibot.mask_token.grad.any()


def test_the_encoder_is_the_teachers_and_stands_once_in_the_state() -> None:
    method = built()
    assert method.encoder is method.ibot.encoder
    assert all(k.startswith("ibot.") for k in method.state_dict())


def test_a_ratio_that_leaves_zero_to_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ratio 0.3 with spread 0.4"):
        built(spread=0.4)
