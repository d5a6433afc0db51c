"""Self-distillation: equal to iBOT's reference numbers over two steps; what each part is for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mimflow.targets.selfdistill import (
    Centre,
    class_loss,
    collapse_signs,
    entropy,
    patch_loss,
    temperature,
)
from mimflow.train.clock import Clock


def at_epoch(epoch: float) -> Clock:
    return Clock(int(epoch * 10), 100, epoch, 10.0)


def close(ours: Tensor, theirs: Tensor, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours.detach(), theirs, rtol=rtol, atol=atol)


class Reference:
    """The file's configuration as our parts: two steps share the centres."""

    def __init__(self, golden: Any):
        self.numbers, c = golden("ibot_loss"), golden("ibot_loss").facts["config"]
        self.config = c
        self.centre = Centre(c["out_dim"], c["center_momentum"])
        self.patch_centre = Centre(c["patch_out_dim"], c["center_momentum2"])

    def heats(self, epoch: int) -> tuple[float, float]:
        c, clock = self.config, at_epoch(epoch)
        ends = [
            [c["warmup_teacher_temp"], c["teacher_temp"]],
            [c["warmup_teacher_temp2"], c["teacher_temp2"]],
        ]
        one, two = (temperature(e, c["warmup_teacher_temp_epochs"], clock) for e in ends)
        return one, two

    def step(
        self, name: str, epoch: int, local: bool = True
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Class loss, patch loss, and the student's logits with gradients of the total."""
        n, c = self.numbers, self.config
        first, second = self.heats(epoch)
        keys = ["student_cls", "student_patch", "student_local_cls"]
        inputs = [n[f"{name}.{k}"].clone().requires_grad_() for k in keys]
        student = torch.cat([inputs[0], inputs[2]]) if local else inputs[0]
        classes = self.centre(n[f"{name}.teacher_cls"], first).unflatten(0, (2, -1))
        between = class_loss(student.unflatten(0, (-1, c["batch"])), classes, c["student_temp"])
        patches = self.patch_centre(n[f"{name}.teacher_patch"], second)
        hidden = n[f"{name}.masks"].flatten(0, 1).flatten(1)  # crop by crop
        within = patch_loss(inputs[1], patches, hidden, c["student_temp"]) * c["lambda2"]
        (c["lambda1"] * between + within).backward()
        return between * c["lambda1"], within, inputs

    def move(self, name: str) -> None:
        classes, patches = (self.numbers[f"{name}.teacher_{k}"] for k in ("cls", "patch"))
        self.centre.see(classes.mean(0), len(classes))
        self.patch_centre.see(patches.mean((0, 1)), len(patches))
        self.centre.move()
        self.patch_centre.move()


def test_losses_gradients_and_centres_of_two_steps_equal_the_reference(golden: Any) -> None:
    reference = Reference(golden)
    n = reference.numbers
    for name, epoch in zip(("step0", "step1"), reference.config["epochs_used"], strict=True):
        close(reference.centre.centre[None], n[f"{name}.center_before"])
        close(reference.patch_centre.centre[None, None], n[f"{name}.center2_before"])
        between, within, inputs = reference.step(name, epoch)
        for ours, key in ((between, "cls"), (within, "patch"), (between + within, "loss")):
            close(ours, n[f"{name}.{key}"], rtol=1e-5, atol=0)
        for x, key in zip(inputs, ("cls", "patch", "local_cls"), strict=True):
            expected = n[f"{name}.grad_student_{key}"]
            close(x.grad, expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())  # type: ignore[arg-type]
        reference.move(name)
        close(reference.centre.centre[None], n[f"{name}.center_after"])
        close(reference.patch_centre.centre[None, None], n[f"{name}.center2_after"])


def test_without_local_crops_the_loss_equals_the_reference(golden: Any) -> None:
    reference = Reference(golden)
    between, within, _ = reference.step("step0", reference.config["epochs_used"][0], local=False)
    close(between, reference.numbers["nolocal.cls"], rtol=1e-5, atol=0)
    close(within, reference.numbers["nolocal.patch"], rtol=1e-5, atol=0)


def test_temperatures_of_every_epoch_equal_the_reference(golden: Any) -> None:
    reference = Reference(golden)
    for epoch in range(reference.config["nepochs"]):
        heats = reference.heats(epoch)
        for ours, key in zip(heats, ("temp", "temp2"), strict=True):
            expected = reference.numbers[f"f64.teacher_{key}_schedule"][epoch].item()
            assert ours == pytest.approx(expected, rel=1e-10)


def test_a_temperature_holds_for_a_whole_epoch_and_a_warm_up_of_one_is_none() -> None:
    ends = [0.04, 0.07]
    assert temperature(ends, 4, at_epoch(1.0)) == temperature(ends, 4, at_epoch(1.9))
    assert temperature(ends, 4, at_epoch(0.5)) == 0.04
    assert temperature(ends, 1, at_epoch(0.0)) == 0.07 == temperature(ends, 4, at_epoch(3.0))


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def test_a_crop_is_never_compared_with_its_own_teacher() -> None:
    student = random(2, 3, 5).requires_grad_()
    teacher = random(2, 3, 5).softmax(-1)
    gradients = []
    for other in (teacher, torch.stack([teacher[0].roll(1, -1), teacher[1]])):
        [g] = torch.autograd.grad(class_loss(student, other, 0.1), student)
        gradients.append(g)
    assert torch.equal(gradients[0][0], gradients[1][0])  # of crop 1, whose own target changed
    assert not torch.equal(gradients[0][1], gradients[1][1])


def test_the_class_loss_is_the_mean_over_ordered_pairs_and_knows_no_order_of_local_crops() -> None:
    student, teacher = random(5, 3, 7), random(2, 3, 7).softmax(-1)
    pairs = [
        -(teacher[g] * (student[v] / 0.1).log_softmax(-1)).sum(-1).mean()
        for g in range(2)
        for v in range(5)
        if v != g
    ]
    assert len(pairs) == 8
    ours = class_loss(student, teacher, 0.1)
    close(ours, torch.stack(pairs).mean(), rtol=1e-6, atol=0)
    close(class_loss(student[[0, 1, 4, 2, 3]], teacher, 0.1), ours, rtol=1e-6, atol=0)


def test_the_patch_loss_sees_hidden_places_only_and_crops_without_any_count_as_zero() -> None:
    student, teacher = random(4, 6, 5), random(4, 6, 5).softmax(-1)
    hidden = torch.zeros(4, 6, dtype=torch.bool)
    hidden[0, :2] = hidden[1, 1:5] = True
    loss = patch_loss(student, teacher, hidden, 0.1)
    changed = torch.where(hidden[..., None], student, student + 1 + random(4, 6, 5))
    assert torch.equal(patch_loss(changed, teacher, hidden, 0.1), loss)
    halves = patch_loss(student[:2], teacher[:2], hidden[:2], 0.1)
    close(loss, halves / 2, rtol=1e-6, atol=0)
    assert patch_loss(student[2:], teacher[2:], hidden[2:], 0.1) == 0


def test_a_cold_teacher_makes_it_the_cross_entropy_of_one_code() -> None:
    logits, student = random(4, 6, 5), random(4, 6, 5).flip(0)
    teacher = Centre(5, 0.9)(logits, 1e-5)
    close(teacher.sum(-1), torch.ones(4, 6))
    assert ((teacher > 0.999) | (teacher < 0.001)).all()
    hard = torch.nn.functional.cross_entropy(
        (student / 0.1).flatten(0, 1), logits.argmax(-1).flatten()
    )
    every = torch.ones(4, 6, dtype=torch.bool)
    close(patch_loss(student, teacher, every, 0.1), hard, rtol=1e-5, atol=0)


def test_a_centre_moves_once_a_step_by_the_mean_of_all_parts() -> None:
    whole, parts = Centre(5, 0.9), Centre(5, 0.9)
    seen = random(12, 5)
    whole.see(seen.mean(0), 12)
    for part in (seen[:8], seen[8:]):
        parts.see(part.mean(0), len(part))
    for centre in (whole, parts):
        assert (centre.centre == 0).all()  # the step uses the centre from before it
        centre.move()
    close(parts.centre, whole.centre)
    close(whole.centre, 0.1 * seen.mean(0))
    whole.move()  # a step that saw nothing
    close(whole.centre, 0.1 * seen.mean(0))


def test_a_logit_that_is_not_finite_leaves_the_centre_and_momentum_one_is_no_centring() -> None:
    centre, none = Centre(3, 0.9), Centre(3, 1.0)
    centre.see(torch.tensor([1.0, math.nan, 0.0]), 4)
    none.see(torch.ones(3), 4)
    centre.move()
    none.move()
    assert (centre.centre == 0).all() and (centre.pending == 0).all() and (none.centre == 0).all()


def test_entropies_tell_one_code_for_all_from_one_each_and_from_none() -> None:
    assert entropy(torch.full((8,), 0.125)).item() == pytest.approx(1)
    assert entropy(torch.eye(8)[3]).item() == pytest.approx(0, abs=1e-6)
    healthy = collapse_signs(torch.eye(8).expand(2, 8, 8))
    assert healthy["teacher_entropy"] < 1e-6 and healthy["centre_entropy"].item() == pytest.approx(
        1
    )
    one = collapse_signs(torch.eye(8)[:1].expand(2, 8, 8))
    assert one["centre_entropy"] < 1e-6
    flat = collapse_signs(torch.full((2, 8, 8), 0.125))
    assert flat["teacher_entropy"].item() == pytest.approx(1) and flat["target_std"] == 0
