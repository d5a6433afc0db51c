"""Fine-tuning: its parts do what their papers say, its trainings resume, and it learns."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from toy import ROOT, make_shards

from mimflow.data.shards import Shards
from mimflow.draw import Draw
from mimflow.evals.finetune import choose_labelled, erase, mix, views, with_head
from mimflow.evals.finetuning import Tuning
from mimflow.params.read import read_yaml
from mimflow.params.tasks.finetune import Finetune
from mimflow.ranks import Processes
from mimflow.train import training
from mimflow.train.clock import Clock
from mimflow.train.deadline import SIGNALS
from mimflow.train.outcome import Interrupted
from mimflow.train.place import Place

TOY = read_yaml(ROOT / "presets/toy.yaml")
CONTROL = {**TOY["controls"]["random"]}
CPU = torch.device("cpu")


def protocol(**changes: Any) -> Finetune:
    values = TOY["finetune"]
    compute = {**values["compute"], "threads": 1}
    return Finetune.model_validate({**values, "compute": compute, "seeds": [0], **changes})


def batch(images: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.arange(images, dtype=torch.float32)[:, None, None, None].expand(-1, 3, 16, 16)
    return x.clone(), torch.eye(images)


def test_mixup_gives_each_image_a_share_of_its_neighbour_and_the_target_the_same() -> None:
    x, target = batch()
    mixed, soft = mix(x, target, protocol(mixup=0.8), Clock(3, 10, 0.0, 1.0))
    share = soft[0, 0].item()
    other = [1, 0, 3, 2, 5, 4, 7, 6]
    assert 0 < share < 1 and torch.allclose(mixed, share * x + (1 - share) * x[other])
    assert torch.allclose(soft, share * target + (1 - share) * target[other])


def test_cutmix_pastes_a_rectangle_whose_area_is_the_targets_share() -> None:
    x, target = batch()
    shares = []
    for step in range(20):
        mixed, soft = mix(x, target, protocol(cutmix=1.0), Clock(step, 20, 0.0, 1.0))
        pasted = (mixed[0] == 1).float().mean().item()
        assert soft[0, 1].item() == pytest.approx(pasted, abs=1e-6)
        assert set(mixed[0].unique().tolist()) <= {0.0, 1.0}
        shares.append(pasted)
    assert len(set(shares)) > 10


def test_mixing_depends_on_the_step_alone_and_without_alphas_nothing_is_mixed() -> None:
    x, target = batch()
    how = protocol(mixup=0.8, cutmix=1.0)
    one, two = (mix(x, target, how, Clock(4, 10, 0.0, 1.0))[0] for _ in range(2))
    assert torch.equal(one, two)
    for micro in (2, 4):  # however the batch is cut
        parts = zip(x.split(micro), target.split(micro), strict=True)
        cut = torch.cat([mix(*part, how, Clock(4, 10, 0.0, 1.0))[0] for part in parts])
        assert torch.equal(cut, one)
    with pytest.raises(ValueError, match=r"compute.micro_batch: 1 images are no pairs to mix"):
        mix(x[:1], target[:1], how, Clock(4, 10, 0.0, 1.0))
    assert mix(x, target, protocol(), Clock(4, 10, 0.0, 1.0)) == (x, target)


def test_erasing_turns_one_rectangle_of_some_images_into_noise() -> None:
    x = torch.full((400, 3, 16, 16), 5.0)
    out = erase(x, 0.25, Draw(torch.arange(400), "step", 0, 0))
    changed = (out != 5.0).any(1)  # (B, H, W)
    touched = changed.flatten(1).any(1)
    assert 0.15 < touched.float().mean().item() < 0.35
    for hole in changed[touched]:
        rows, columns = hole.any(1), hole.any(0)
        assert torch.equal(hole, rows[:, None] & columns[None])
        assert 0 < hole.float().mean().item() < 0.5
    assert erase(x, 0.0, Draw(torch.arange(400), "step", 0, 0)) is x


def test_rand_augment_belongs_to_the_image_and_leaves_the_global_dice_alone() -> None:
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3)).astype(np.uint8)
    look = views(protocol(rand_augment="rand-m9-mstd0.5-inc1"), 32)
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr, index]
    one, two = (look(images, Draw(np.arange(4), "views", 0), 0)["image"] for _ in range(2))
    assert np.array_equal(np.random.get_state()[1], before)  # type: ignore[index]
    plain = views(protocol(), 32)(images, Draw(np.arange(4), "views", 0), 0)["image"]
    assert np.array_equal(one, two) and not np.array_equal(one, plain)
    last = look(images[3:], Draw(np.arange(3, 4), "views", 0), 0)["image"]
    assert np.array_equal(last[0], one[3])


def test_what_timm_has_not_is_named() -> None:
    for policy in ("foo", "", "augmix-m3"):
        with pytest.raises(ValueError, match=f"finetune.rand_augment: '{policy}' is no policy"):
            views(protocol(rand_augment=policy), 32)
    swin = {"img_size": 32, "patch_size": 2, "window_size": 4}
    for how, message in (
        (protocol(pool="cls"), "finetune.pool: 'cls' is not for swin_tiny"),
        (protocol(pool="mean", drop_path=0.1), None),
    ):
        with torch.device("meta"):
            state = timm.create_model("swin_tiny_patch4_window7_224", **swin).state_dict()
        kept = {k: torch.zeros(x.shape) for k, x in state.items() if not k.startswith("head")}
        call = partial(with_head, "swin_tiny_patch4_window7_224", swin, kept, 3, how)
        if message is None:
            call()
        else:
            with pytest.raises(ValueError, match=message):
                call()
    with pytest.raises(ValueError, match=r"finetune.drop_path: not for convnext_atto; allowed: 0"):
        with_head("convnext_atto", {}, {}, 3, protocol(pool="mean", drop_path=0.1))
    with pytest.raises(ValueError, match=r"micro_batch 1: mixup and cutmix mix pairs"):
        protocol(mixup=0.8, compute={**TOY["finetune"]["compute"], "micro_batch": 1})


def test_labels_are_chosen_evenly_and_a_larger_share_holds_the_smaller() -> None:
    labels = np.array([0] * 50 + [1] * 30 + [2] * 3 + [-1] * 20)
    few, many = choose_labelled(labels, 0.1, 0), choose_labelled(labels, 0.5, 0)
    assert np.bincount(labels[few]).tolist() == [5, 3, 1]
    assert set(few) <= set(many) and (np.diff(few) > 0).all() and labels[many].min() == 0
    assert not np.array_equal(few, choose_labelled(labels, 0.1, 1))
    with pytest.raises(ValueError, match="no training image has a label"):
        choose_labelled(np.full(4, -1), 0.5, 0)


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_the_encoder_is_kept_and_only_the_head_is_new(pool: str) -> None:
    from mimflow.evals.finetuning import timm_of
    from mimflow.evals.origin import open_origin

    origin = {"control": CONTROL, "draw": 0}
    state = open_origin(origin).model.state_dict()
    model = with_head(*timm_of(origin), state, 10, protocol(pool=pool))
    ours = model.state_dict()
    new = {k for k in ours if k not in state}
    assert new == {"head.weight", "head.bias"} | (
        {"fc_norm.weight", "fc_norm.bias"} if pool == "mean" else set()
    )
    assert all(torch.equal(ours[k], state[k]) for k in ours if k not in new)
    assert all(p.requires_grad for p in model.parameters())  # the position table too, as in MAE
    with pytest.raises(ValueError, match="does not fit its weights"):
        with_head(*timm_of(origin), {**state, "other": torch.zeros(1)}, 10, protocol(pool=pool))


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Shards, Shards]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CI", "1")
    before = [signal.getsignal(n) for n in SIGNALS]
    train = make_shards(tmp_path)
    yield train, Shards(tmp_path / "index.json", tmp_path / "shards", train.held_out)
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


def tuned(shards: tuple[Shards, Shards], state: str, **changes: Any) -> np.ndarray:
    train, held = shards
    origin = {"control": CONTROL, "draw": 0}
    place = Place("finetune", "toy", Path(state), train, Processes(0, 1, 0), CPU)
    tuning = Tuning(origin, held, protocol(**changes), place)
    labels = train.labels().astype(np.int64)
    # The training images themselves are the test: a network that learns knows them.
    tuning.held = train
    numbers = np.arange(len(train))
    return tuning.predict(numbers, labels, numbers)["finetune"] == labels


@pytest.mark.slow
def test_it_learns_its_training_images(shards: tuple[Shards, Shards]) -> None:
    rule = {**TOY["finetune"]["optimiser"], "base_lr": 2e-2}
    changes = {"labels": 1.0, "samples": 6400, "drop_path": 0.0, "layer_decay": 1.0}
    assert tuned(shards, "state", optimiser=rule, **changes).mean() > 0.6


@pytest.mark.slow
def test_an_interrupted_fine_tuning_ends_in_the_same_predictions(
    shards: tuple[Shards, Shards], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"seeds": [0, 1], "samples": 640, "average": 0.9, "mixup": 0.8}
    whole = tuned(shards, "whole", **changes)
    assert whole.shape == (2, 150)
    for moment in (5, 28):  # in the first training, then in the second
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr(training, "train", _stopping(moment))
            tuned(shards, "parts", **changes)
    assert np.array_equal(tuned(shards, "parts", **changes), whole)


def _stopping(moment: int) -> Any:
    """The loop, to which a signal comes after `moment` steps."""
    import os

    from mimflow.train.loop import train

    left = [moment]

    def stopped(method: Any, *arguments: Any) -> Any:
        def count(module: Any, inputs: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGTERM)

        method.register_forward_pre_hook(count)
        return train(method, *arguments)

    return stopped
