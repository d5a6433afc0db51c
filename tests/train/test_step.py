"""One step: precision, recomputation and compilation change rounding at most; clipping clips."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from toy import toy_method, toy_run

from mimflow.params.mae import MAEParams
from mimflow.train.clock import Clock
from mimflow.train.optim import build_optimiser, parameter_groups
from mimflow.train.parallel import spread
from mimflow.train.scale import FIRST, LossScale
from mimflow.train.step import Stepper

CPU = torch.device("cpu")


def stepper_of(run: MAEParams, method: Any = None) -> Stepper:
    method = method or toy_method(run)
    model = spread(method, run.compute, CPU)
    groups = parameter_groups(method.named_parameters(), 0.05, ["vectors"])
    optimiser = build_optimiser(groups, run.optimiser)
    scale = LossScale(run.compute.precision == "fp16", CPU)
    return Stepper(method, model, optimiser, run, run.compute.micro_batch, scale)


def batch_of(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"image": torch.randn(32, 3, 32, 32, generator=generator), "place": torch.arange(32)}


def losses(run: MAEParams, steps: int = 5) -> list[float]:
    stepper = stepper_of(run)
    clocks = [Clock(i + 5, 20, 0.0, 1.0) for i in range(steps)]
    return [stepper(batch_of(i), c)["loss"].item() for i, c in enumerate(clocks)]


FP32 = losses(toy_run(compute={"precision": "fp32"}))


def test_recomputed_activations_give_the_same_bits() -> None:
    assert losses(toy_run(compute={"precision": "fp32", "recompute": True})) == FP32


@pytest.mark.parametrize("micro", [1, 4, 16])
def test_micro_batches_give_the_same_losses(micro: int) -> None:
    ours = losses(toy_run(compute={"precision": "fp32", "micro_batch": micro}))
    assert ours == pytest.approx(FP32, rel=1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 2e-2), ("fp16", 3e-3)])
def test_low_precision_is_close(precision: str, tolerance: float) -> None:
    ours = losses(toy_run(compute={"precision": precision}))
    assert ours == pytest.approx(FP32, rel=tolerance) and ours != FP32


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_blocks_are_close() -> None:
    ours = losses(toy_run(compute={"precision": "fp32", "compile": True}), steps=2)
    assert ours == pytest.approx(FP32[:2], rel=1e-5)


def test_the_state_dict_does_not_tell_how_it_was_trained() -> None:
    plain = toy_method(toy_run()).state_dict()
    run = toy_run(compute={"recompute": True, "compile": True})
    method = toy_method(run)
    spread(method, run.compute, CPU)
    assert list(method.state_dict()) == list(plain)


def test_an_overflow_in_fp16_halves_the_scale_and_is_no_failure() -> None:
    scale = LossScale(True, CPU)
    overflow = scale.update(torch.tensor(float("inf")))
    assert bool(overflow) and scale.state.tolist() == [FIRST / 2, 0]
    assert not bool(scale.update(torch.tensor(1.0))) and scale.state.tolist() == [FIRST / 2, 1]
    scale.state = torch.tensor([1.0, 0.0])
    assert not bool(scale.update(torch.tensor(float("nan")))), "nothing is left to halve"


def test_the_scale_grows_after_calm_steps() -> None:
    scale = LossScale(True, CPU)
    for _ in range(2000):
        scale.update(torch.tensor(1.0))
    assert scale.state.tolist() == [2 * FIRST, 0]


@pytest.mark.parametrize("key", ["clip_norm", "clip_each"])
def test_gradients_are_clipped_after_their_norm_is_taken(key: str) -> None:
    run = toy_run(compute={"precision": "fp32"})
    bound = {"clip_norm": None, "clip_each": None, key: 1e-3}
    optimiser = run.optimiser.model_copy(update=bound)
    stepper = stepper_of(run.model_copy(update={"optimiser": optimiser}))
    norm = stepper(batch_of(), Clock(5, 20, 0.0, 1.0))["gradient_norm"].item()
    plain = stepper_of(run)(batch_of(), Clock(5, 20, 0.0, 1.0))["gradient_norm"].item()
    assert norm == plain > 1e-3
    norms = torch.stack([g.norm() for g in stepper.gradients()])
    total = norms.norm().item() if key == "clip_norm" else norms.max().item()
    assert total == pytest.approx(1e-3, rel=1e-3)


def test_nothing_but_trained_parameters_changes() -> None:
    run = toy_run()
    method = toy_method(run)
    before = {n: x.clone() for n, x in method.state_dict().items()}
    stepper_of(run, method)(batch_of(), Clock(5, 20, 0.0, 1.0))
    fixed = {n for n, p in method.named_parameters() if not p.requires_grad}
    fixed |= {n for n, _ in method.named_buffers()}
    after = method.state_dict()
    assert {n for n in before if torch.equal(before[n], after[n])} == fixed
