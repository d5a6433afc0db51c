"""The momentum teacher moves as its formula says, by step or by epoch."""

from __future__ import annotations

import torch
from torch import nn

from mimflow.targets.momentum import epoch_ends, follow, momentum_copy
from mimflow.train.clock import Clock


def test_the_teacher_begins_equal_and_moves_by_the_share_that_is_left() -> None:
    student = nn.Linear(3, 2)
    teacher = momentum_copy(student)
    assert torch.equal(teacher.weight, student.weight)
    assert not any(p.requires_grad for p in teacher.parameters())
    before = teacher.weight.clone()
    with torch.no_grad():
        student.weight.add_(1.0)
    follow(teacher, student, 0.9)
    torch.testing.assert_close(teacher.weight, 0.9 * before + 0.1 * student.weight)
    follow(teacher, student, 0.0)
    assert torch.equal(teacher.weight, student.weight)


def test_momentum_one_leaves_the_teacher_and_no_gradient_reaches_it() -> None:
    student = nn.Linear(3, 2)
    teacher = momentum_copy(student)
    before = teacher.weight.clone()
    follow(teacher, nn.Linear(3, 2), 1.0)
    assert torch.equal(teacher.weight, before)
    (teacher(torch.ones(1, 3)) + student(torch.ones(1, 3))).sum().backward()
    assert teacher.weight.grad is None and student.weight.grad is not None


def test_each_epoch_ends_once() -> None:
    steps, per_epoch = 35, 7.0
    clocks = [Clock(i, steps, i / per_epoch, steps / per_epoch) for i in range(steps)]
    assert [c.step for c in clocks if epoch_ends(c)] == [6, 13, 20, 27, 34]
    uneven = [Clock(i, 10, i * 0.3, 3.0) for i in range(10)]
    assert sum(epoch_ends(c) for c in uneven) == 3
