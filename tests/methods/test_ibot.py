"""iBOT: the invariants of its sheet, on a small network."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_ibot import CLOCK, COUNT, batch_of, draw

from mimflow.backbones.crops import CropDraw
from mimflow.draw import Draw
from mimflow.methods.ibot import IBOT, build, views
from mimflow.params.ibot import IBOTParams
from mimflow.params.read import read_yaml
from mimflow.targets.selfdistill import class_loss, temperature
from mimflow.train.clock import Clock
from mimflow.train.optim import build_optimiser, parameter_groups
from mimflow.train.scale import LossScale
from mimflow.train.step import Stepper

RUNS = read_yaml(Path(__file__).parents[2] / "presets/zoo.yaml")["runs"]


def params(**changes: Any) -> IBOTParams:
    values = copy.deepcopy(RUNS["ibot"]) | {"drop_path": 0.0}
    for key, value in changes.items():
        place = values
        *path, last = key.split("__")
        for part in path:
            place = place[part]
        place[last] = value
    return IBOTParams.model_validate(values)


def built(**changes: Any) -> IBOT:
    torch.manual_seed(0)
    return build(params(**changes))


def names_with_gradient(method: IBOT) -> set[str]:
    return {n for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}


def test_without_patches_and_masks_it_is_dino_on_the_same_crops() -> None:
    method, batch = built(distil__patches__weight=0.0), batch_of(hidden=0)
    out = method(batch, draw(), CLOCK)
    images = torch.cat([batch["image"], batch["second"]])
    teacher = method.teacher.classes(method.teacher(method.encoder.forward_features(images)[:, 0]))
    heat = temperature([0.04, 0.07], 2, CLOCK)
    target = (teacher / heat).softmax(-1).unflatten(0, (2, COUNT))
    student = [
        method.head.classes(method.head(tokens[:, 0]))
        for name in ("image", "second", "local0", "local1")
        for tokens in [method.seen(batch[name], None, draw())]
    ]
    expected = class_loss(torch.stack(student), target, 0.1)
    torch.testing.assert_close(out["loss"], expected, rtol=1e-5, atol=0)
    assert torch.equal(out["loss"], out["class_loss"]) and out["patch_loss"] == 0


def test_codes_of_patches_that_nothing_learns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"head.patch_codes: nothing learns them where"):
        params(head__patch_codes=16, distil__patches__weight=0.0)


def test_without_the_class_loss_only_hidden_patches_are_left() -> None:
    method = built(distil__classes__weight=0.0)
    out = method(batch_of(), draw(), CLOCK)
    assert torch.equal(out["loss"], out["patch_loss"]) and out["loss"] > 0
    none = method(batch_of(hidden=0), draw(), CLOCK)
    assert none["loss"] == 0


def test_the_loss_is_both_terms_by_their_weights() -> None:
    one, two = built(), built(distil__patches__weight=0.5, distil__classes__weight=2.0)
    out, again = (m(batch_of(), draw(), CLOCK) for m in (one, two))
    assert out["class_loss"] == again["class_loss"] and out["patch_loss"] == again["patch_loss"]
    torch.testing.assert_close(again["loss"], 2 * out["class_loss"] + 0.5 * out["patch_loss"])
    assert out["mask_ratio"].item() == pytest.approx(20 / 64 / 2)


def test_the_order_of_the_local_crops_does_not_matter() -> None:
    method, batch = built(), batch_of(3)
    turned = batch | {f"local{i}": batch[f"local{(i + 1) % 3}"] for i in range(3)}
    ours, theirs = (method(b, draw(), CLOCK)["loss"] for b in (batch, turned))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


def test_crops_of_one_size_go_through_the_student_together_and_the_copy_sees_global_ones() -> None:
    method, shapes = built(), dict[str, list[tuple[int, ...]]]()
    for name in ("student", "encoder"):
        seen = shapes.setdefault(name, [])
        getattr(method, name).blocks.register_forward_pre_hook(
            lambda module, inputs, seen=seen: seen.append(tuple(inputs[0].shape))
        )
    method(batch_of(3), draw(), CLOCK)
    assert shapes["student"] == [(2 * COUNT, 65, 32), (3 * COUNT, 17, 32)]
    assert shapes["encoder"] == [(2 * COUNT, 65, 32)]


def test_hidden_pixels_reach_the_copy_alone() -> None:
    method, batch = built(), batch_of()
    images = torch.cat([batch["image"], batch["second"]])
    mask = batch["mask"].transpose(0, 1).flatten(0, 1)
    where = mask.view(-1, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    other = torch.where(where, 5.0, images)
    ours, theirs = (method.seen(x, mask, draw()) for x in (images, other))
    assert torch.equal(ours, theirs)
    changed = batch | dict(zip(("image", "second"), other.split(COUNT), strict=True))
    assert method(changed, draw(), CLOCK)["loss"] != method(batch, draw(), CLOCK)["loss"]


def test_no_gradient_reaches_the_copy_and_student_and_copy_begin_equal() -> None:
    method = built()
    for ours, theirs in ((method.student, method.encoder), (method.head, method.teacher)):
        state = theirs.state_dict()
        assert all(torch.equal(x, state[k]) for k, x in ours.state_dict().items())
    method(batch_of(), draw(), CLOCK)["loss"].backward()
    trained = {n for n, p in method.named_parameters() if p.requires_grad}
    assert names_with_gradient(method) == trained
    assert all(n.startswith(("student.", "head.", "mask_token")) for n in trained)
    assert method.student.pos_embed is not None and method.student.pos_embed.requires_grad


def test_the_copy_follows_with_a_momentum_from_its_start_to_one() -> None:
    method = built()
    for step, momentum in ((0, 0.99), (5, 0.995), (10, 1.0)):
        before = method.encoder.blocks[0].mlp.fc1.weight.clone()
        with torch.no_grad():
            for p in method.student.parameters():
                p.add_(0.1)
        method.after_step(Clock(step, 10, step / 2, 5.0))
        student = method.student.blocks[0].mlp.fc1.weight
        expected = momentum * before + (1 - momentum) * student
        torch.testing.assert_close(method.encoder.blocks[0].mlp.fc1.weight, expected)


def test_the_patch_centre_is_the_mean_over_all_patches_hidden_or_not() -> None:
    method, batch = built(), batch_of()
    method(batch, draw(), CLOCK)
    method.after_step(CLOCK)
    fresh = built()
    latent = fresh.encoder.forward_features(torch.cat([batch["image"], batch["second"]]))
    logits = fresh.teacher.classes(fresh.teacher(latent))
    torch.testing.assert_close(method.patch_centre.centre, 0.1 * logits[:, 1:].mean((0, 1)))
    torch.testing.assert_close(method.centre.centre, 0.1 * logits[:, 0].mean(0))


def test_a_method_that_is_not_training_leaves_the_centres() -> None:
    method = built().eval()
    method(batch_of(), draw(), CLOCK)
    method.after_step(CLOCK)
    assert (method.centre.centre == 0).all() and (method.patch_centre.centre == 0).all()


def test_a_frozen_last_layer_takes_no_step_and_the_rest_does() -> None:
    run = params(head__patch_codes=16, optimiser__weight_decay=0.4)
    torch.manual_seed(0)
    method = build(run)
    optimiser = build_optimiser(
        parameter_groups(method.named_parameters(), 0.4, ["vectors"]), run.optimiser
    )
    stepper = Stepper(method, method, optimiser, run, COUNT, LossScale(False, torch.device("cpu")))
    stepper.run = run.model_copy(update={"batch": COUNT})
    before = {n: p.detach().clone() for n, p in method.head.named_parameters()}
    for step, epoch in ((20, 0.9), (30, 1.0)):
        stepper(batch_of(), Clock(step, 100, epoch, 5.0))
        last = {n: not torch.equal(p, before[n]) for n, p in method.head.named_parameters()}
        assert {n for n, moved in last.items() if moved} >= {"mlp.0.weight", "mlp.4.bias"}
        moved = {n for n, moved in last.items() if moved and not n.startswith("mlp")}
        assert len(moved) == (0 if epoch < 1 else 4)


def test_temperatures_follow_the_epoch() -> None:
    method, batch = built(distil__warmup_epochs=4), batch_of()
    losses = [
        method(batch, draw(), Clock(0, 10, e, 9.0))["loss"] for e in (0.0, 0.9, 1.0, 3.0, 8.0)
    ]
    assert losses[0] == losses[1] != losses[2] and losses[3] == losses[4]


def test_dropped_paths_are_the_students_alone_and_each_crops_own() -> None:
    method, batch = built(drop_path=0.5), batch_of()
    whole = method(batch, draw(), CLOCK)
    assert torch.equal(method(batch, draw(), CLOCK)["loss"], whole["loss"])
    plain = built()
    plain.load_state_dict(method.state_dict())
    assert plain(batch, draw(), CLOCK)["loss"] != whole["loss"]
    for key in ("teacher_entropy", "target_std"):
        assert plain(batch, draw(), CLOCK)[key] == whole[key]
    images = torch.cat([batch["image"]] * 2)
    one, two = method.seen(images, None, CropDraw(draw(), "global", 2)).split(COUNT)
    assert not torch.equal(one, two)


def test_views_are_crops_and_masks_and_half_of_the_masks_are_empty() -> None:
    images = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    out = views(params())(images, Draw(np.arange(200), "views", 0), 0)
    assert out["mask"].shape == (200, 2, 64) and out["mask"].dtype == bool
    hidden = out["mask"].sum(-1)
    assert (hidden == 0).mean() == pytest.approx(0.5, abs=0.08) and hidden.max() <= 32
    assert {"image", "second", "local0", "local1", "local1.colour", "image.box"} <= set(out)
    assert not np.array_equal(out["mask"][:, 0], out["mask"][:, 1])


def test_pictures_show_the_mask_the_attention_and_a_colour_for_each_code() -> None:
    method, batch = built().eval(), batch_of()
    shown = method.pictures(batch, draw(), CLOCK)
    assert list(shown) == ["input", "masked", "attention", "codes"]
    where = batch["mask"][:, 0].view(-1, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    where = where.expand(-1, 3, -1, -1)
    assert (shown["masked"][where] == 0).all()
    assert torch.equal(shown["masked"][~where], batch["image"][~where])
    low, high = batch["image"].min(), batch["image"].max()
    for name in ("attention", "codes"):
        assert shown[name].min() >= low and shown[name].max() <= high + 1e-5
    assert method.encoder.blocks[-1].attn.qkv._forward_hooks == {}  # nothing stays behind


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crops__size": 18}, r"crops.size 18 is not a multiple of encoder.patch_size 4"),
        ({"augment": {"kind": "shift", "amount": 4, "flip": True}}, r"kind 'crop'"),
        ({"masking__spread": [0.0]}, r"spread .* has not one entry"),
        ({"masking__spread": [0.1, 0.2]}, r"ratio 0.0 with spread 0.1"),
        ({"crops__area": [0.5, 0.1]}, r"is not ascending"),
        ({"drop_path": 0.1, "compute__recompute": True}, r"compute.recompute"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        params(**changes)
