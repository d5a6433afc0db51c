"""mc-BEiT: the invariants of its sheet. There are no reference numbers; with hard choices it has
to be BEiT.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from made import tokenizer_of
from torch import Tensor

from mimflow.draw import Draw
from mimflow.methods import beit
from mimflow.methods.mcbeit import (
    MCBEiT,
    affinity,
    build,
    choice_loss,
    mixed,
    temperature,
)
from mimflow.params.beit import BEiTParams
from mimflow.params.mcbeit import MCBEiTParams, Ramp
from mimflow.params.read import read_yaml
from mimflow.train.clock import Clock

ROOT = Path(__file__).parents[2]
RUN = read_yaml(ROOT / "presets/zoo.yaml")["taught"]["mcbeit"]
CLOCK = Clock(0, 10, 0.0, 4.0)


def built(folder: Path, **changes: Any) -> MCBEiT:
    tokenizer_of(64, 32, 4, folder / "tokenizers/t")
    torch.manual_seed(0)
    return build(
        MCBEiTParams.model_validate(
            {**RUN, "needs": str(folder / "tokenizers/t/weights.safetensors"), **changes}
        )
    )


def heat(value: float) -> dict[str, Any]:
    return {"temperature": {"start": value, "end": value, "epochs": 1}}


def batch_of(count: int = 6, hidden: int = 48) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, 32 * 32, 3), generator=generator, dtype=torch.uint8)
    mask = torch.rand(count, 64, generator=generator).argsort(1).argsort(1) < hidden
    images = pixels.unflatten(1, (32, 32)).permute(0, 3, 1, 2).float() / 128 - 1
    flip = torch.zeros(count, dtype=torch.bool)
    return {"image": images, "tokens": pixels, "image.flip": flip, "mask": mask}


def run(method: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = method(batch, Draw(torch.arange(len(batch["mask"])), "t"), CLOCK)
    return out


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


CHOICES = (3 * drawn(2, 16, 9)).softmax(-1)  # (B, N, K)
LATENT, EVERY = drawn(2, 16, 8), torch.arange(16).expand(2, -1)


def test_targets_sum_to_one_and_a_patch_is_most_like_itself() -> None:
    found = affinity(LATENT, EVERY, 1.0)
    ones = torch.ones(2, 16)
    torch.testing.assert_close(found.sum(-1), ones)
    torch.testing.assert_close(mixed(CHOICES, LATENT, EVERY, 0.2, 1.0).sum(-1), ones)
    assert torch.equal(found.argmax(-1), EVERY)


def test_at_the_published_temperature_rows_are_almost_even() -> None:
    found = affinity(drawn(1, 196, 64), torch.arange(196)[None], 1.0)
    assert found.min() >= 0.0007 and found.max() <= 0.036


def test_affinities_go_from_all_alike_to_itself_alone() -> None:
    even = mixed(CHOICES, LATENT, EVERY, 1.0, 1e9)
    torch.testing.assert_close(even, CHOICES.mean(1, keepdim=True).expand_as(even))
    for mix in (0.0, 0.2, 1.0):
        torch.testing.assert_close(mixed(CHOICES, LATENT, EVERY, mix, 1e-3), CHOICES)


def test_without_mixing_and_at_no_temperature_it_is_beit(tmp_path: Path) -> None:
    ours = built(tmp_path, mix=0.0, **heat(1e-6))
    shared = {k: v for k, v in RUN.items() if k in BEiTParams.model_fields}
    shared |= {
        "method": "beit",
        "needs": str(tmp_path / "tokenizers/t/weights.safetensors"),
        "branch": None,
    }
    torch.manual_seed(0)
    theirs = beit.build(BEiTParams.model_validate(shared))
    theirs.load_state_dict(ours.state_dict())
    batch = batch_of()
    mine, other = run(ours, batch), run(theirs, batch)
    for key in ("loss", "accuracy", "count"):
        torch.testing.assert_close(mine[key], other[key], rtol=1e-5, atol=0)
    mine["loss"].backward()
    other["loss"].backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-7)


def test_at_a_high_temperature_every_choice_is_alike_and_the_loss_is_at_least_its_logarithm(
    tmp_path: Path,
) -> None:
    method = built(tmp_path, **heat(1e9))
    loss = run(method, batch_of())["loss"]
    assert loss >= math.log(64) - 1e-5
    counts, even = torch.ones(1, 4).bool(), torch.full((1, 4, 64), 1 / 64)
    least = choice_loss(torch.zeros(1, 4, 64), even, counts)
    assert least.item() == pytest.approx(math.log(64), rel=1e-6)


def test_the_loss_is_never_below_the_entropy_of_its_targets_and_equal_where_they_are_met(
    tmp_path: Path,
) -> None:
    out = run(built(tmp_path), batch_of())
    assert out["loss"] >= out["floor"]
    counts = torch.ones(2, 16).bool()
    met = choice_loss(CHOICES.log(), CHOICES, counts)
    torch.testing.assert_close(met, choice_loss(CHOICES.log(), CHOICES, counts, normal=True))


@pytest.mark.parametrize("mix", [0.0, 0.5])
def test_a_detached_target_is_held_constant(tmp_path: Path, mix: float) -> None:
    batch, gradients = batch_of(), {}
    for detach in (True, False):
        method = built(tmp_path, mix=mix, detach=detach)
        run(method, batch)["loss"].backward()
        weight = method.encoder.blocks[0].mlp.fc1.weight
        gradients[detach] = weight.grad
    assert torch.equal(gradients[True], gradients[False]) == (mix == 0)


@pytest.mark.parametrize("detach", [True, False])
def test_visible_tokens_take_a_gradient_through_the_similarities_alone(
    tmp_path: Path, detach: bool
) -> None:
    method = built(tmp_path, mix=0.5, detach=detach)
    seen: list[Tensor] = []

    def keep(module: Any, inputs: Any, out: Tensor) -> None:
        out.retain_grad()
        seen.append(out)

    method.encoder.norm.register_forward_hook(keep)
    batch = batch_of()
    run(method, batch)["loss"].backward()
    assert seen[0].grad is not None
    touched = seen[0].grad[:, 1:].abs().sum(-1) > 0
    assert touched[batch["mask"]].all()
    assert touched[~batch["mask"]].any() == (not detach)


def test_logits_of_the_tokenizer_are_the_same_twice(tmp_path: Path) -> None:
    method, images = built(tmp_path), torch.rand(4, 3, 32, 32)
    assert torch.equal(method.tokenizer.logits(images), method.tokenizer.logits(images))
    assert not any(p.requires_grad for p in method.tokenizer.parameters())


def test_the_order_of_the_tokens_changes_nothing() -> None:
    order = torch.randperm(16, generator=torch.Generator().manual_seed(4))
    hidden = torch.tensor([[1, 5, 9], [2, 3, 15]])
    moved = order.argsort()[hidden]
    ours = mixed(CHOICES, LATENT, hidden, 0.2, 1.0)
    torch.testing.assert_close(mixed(CHOICES[:, order], LATENT[:, order], moved, 0.2, 1.0), ours)


def test_the_temperature_climbs_evenly_by_epochs_and_stays() -> None:
    ramp = Ramp(start=1.0, end=4.0, epochs=4)
    found = [temperature(ramp, Clock(0, 10, epoch, 9.0)) for epoch in (0.0, 0.9, 1.0, 3.0, 8.5)]
    assert found == [1.0, 1.0, 2.0, 4.0, 4.0]
    assert temperature(Ramp(start=4.0, end=4.0, epochs=1), CLOCK) == 4.0


@pytest.mark.slow
def test_a_small_run_comes_closer_to_its_floor(tmp_path: Path) -> None:
    method, batch = built(tmp_path, **heat(0.05)), batch_of(32)
    optimiser = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 2e-3)
    above = []
    for _ in range(30):
        optimiser.zero_grad()
        out = run(method, batch)
        out["loss"].backward()
        optimiser.step()
        above.append(float((out["loss"] - out["floor"]).detach()))
    assert above[-1] < 0.9 * above[0]
