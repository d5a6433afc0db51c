"""The quantizer: what moves, what takes a gradient, what is counted, and when a training ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mimflow.tokenizers.quantizer import Quantizer, centres
from mimflow.tokenizers.usage import Usage, perplexity
from mimflow.train.clock import Clock
from mimflow.train.outcome import Diverged

CODES, DIM = 16, 4


def built(least: float = 0.0, grace: float = 0.0, **changes: Any) -> Quantizer:
    torch.manual_seed(0)
    how = {"decay": 0.9, "commitment": 1.0, "revive": None, **changes}
    return Quantizer(CODES, DIM, usage=Usage(CODES, least, grace), seed=0, **how)


def vectors(count: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(count, 5, DIM, generator=torch.Generator().manual_seed(seed))


def clock(step: int, per_epoch: int = 4, steps: int = 20) -> Clock:
    return Clock(step, steps, step / per_epoch, steps / per_epoch)


def test_codes_are_the_nearest_and_of_length_one() -> None:
    quantizer = built()
    found = quantizer(vectors(), clock(0))
    u, book = normalize(vectors(), dim=-1), quantizer.code_vectors()
    assert torch.equal(found.codes, torch.cdist(u, book).argmin(-1))
    assert found.codes.min() >= 0 and found.codes.max() < CODES
    torch.testing.assert_close(found.vectors.norm(dim=-1), torch.ones(3, 5))


def test_the_gradient_at_the_vectors_is_the_decoders_and_the_commitments() -> None:
    x = normalize(vectors(), dim=-1).requires_grad_()
    found = built(commitment=0.5)(x, clock(0))
    weight = vectors(seed=7)
    (found.vectors * weight).sum().backward(retain_graph=True)
    straight = x.grad.clone()  # type: ignore[union-attr]
    found.loss.backward()
    code = found.vectors.detach()
    u = x.detach()
    own = 0.5 * 2 * (u - code) / u.numel() + weight  # through the normalisation, which is of 1
    expected = own - (own * u).sum(-1, keepdim=True) * u
    torch.testing.assert_close(x.grad, expected, rtol=1e-4, atol=1e-6)
    along = weight - (weight * u).sum(-1, keepdim=True) * u
    torch.testing.assert_close(straight, along, rtol=1e-4, atol=1e-6)


def test_a_moving_codebook_takes_no_gradient_and_a_trained_one_does() -> None:
    moving = built()
    x = vectors().requires_grad_()
    moving(x, clock(0)).loss.backward()
    assert moving.codebook.grad is None and not moving.codebook.requires_grad
    trained = built(decay=None)
    before = trained.codebook.clone()
    trained(x, clock(0)).loss.backward()
    assert trained.codebook.grad is not None and trained.codebook.grad.abs().sum() > 0
    trained.after_step(clock(0))
    assert torch.equal(trained.codebook, before)  # the optimiser moves it


def test_codes_in_use_move_to_their_mean_and_others_stay() -> None:
    quantizer = built()
    before = quantizer.codebook.clone()
    found = quantizer(vectors(), clock(0))
    assert torch.equal(quantizer.codebook, before)  # looked up before they move
    quantizer.after_step(clock(0))
    u = normalize(vectors(), dim=-1)
    for code in range(CODES):
        own = u[found.codes == code]
        if len(own):
            mean = normalize(own.double().sum(0), dim=0).float()
            expected = normalize(0.9 * before[code] + 0.1 * mean, dim=0)
            torch.testing.assert_close(quantizer.codebook[code], expected)
        else:
            assert torch.equal(quantizer.codebook[code], before[code])
    torch.testing.assert_close(quantizer.codebook.norm(dim=-1), torch.ones(CODES))


def test_micro_batches_move_the_codes_like_the_whole() -> None:
    whole, cut = built(), built()
    whole(vectors(4), clock(0))
    for part in vectors(4).split(2):
        cut(part, clock(0))
    whole.after_step(clock(0))
    cut.after_step(clock(0))
    torch.testing.assert_close(cut.codebook, whole.codebook, rtol=0, atol=1e-7)
    assert torch.equal(cut.usage.counts, whole.usage.counts)


@pytest.mark.parametrize("decay", [0.9, None])
def test_codes_revive_from_the_vectors_of_the_whole_step(decay: float | None) -> None:
    whole, cut, places = built(revive=1, decay=decay), built(revive=1, decay=decay), []
    for step in range(3):
        now, x = clock(step), vectors(8, seed=step) + 1  # on one side: some codes get none
        whole(x, now)
        for part in x.split(2):
            cut(part, now)
        before = whole.codebook.detach().clone()
        used = whole.usage._seen[0] > 0
        whole.after_step(now)
        cut.after_step(now)
        torch.testing.assert_close(cut.codebook, whole.codebook, rtol=0, atol=1e-6)
        revived = whole.codebook.detach()[~used]
        assert len(revived) and not torch.equal(revived, before[~used])
        places.append((revived @ normalize(x, dim=-1).flatten(0, 1).T).argmax(-1))
    assert torch.cat(places).min() < 30  # of 40 vectors, not of the last ten alone


def test_what_is_tried_outside_of_a_step_is_forgotten() -> None:
    plain, tried = built(), built()
    tried(vectors(4, seed=9), Clock(0, 20, 0.0, 1.0))  # for the memory that a batch takes
    for quantizer in (plain, tried):
        quantizer(vectors(), clock(0))
        quantizer.after_step(clock(0))
    assert torch.equal(plain.codebook, tried.codebook)
    assert torch.equal(plain.usage.counts, tried.usage.counts)


def test_evaluation_changes_nothing() -> None:
    quantizer = built().eval()
    state = {k: x.clone() for k, x in quantizer.state_dict().items()}
    quantizer(vectors(), clock(0))
    assert not quantizer._sums and not quantizer.usage._seen
    assert all(torch.equal(x, state[k]) for k, x in quantizer.state_dict().items())


@pytest.mark.parametrize("decay", [0.9, None])
def test_a_code_unused_for_some_steps_begins_again_at_a_vector_of_the_last(
    decay: float | None,
) -> None:
    quantizer = built(revive=3, decay=decay)
    one = normalize(torch.ones(2, 5, DIM), dim=-1)
    for step in range(6):
        before = quantizer.codebook.detach().clone()
        used = int(quantizer(one, clock(step)).codes[0, 0])
        quantizer.after_step(clock(step))
        moved = (quantizer.codebook - before).abs().sum(-1) > 1e-6
        if step == 2:
            others = torch.arange(CODES) != used
            expected = one[0, :1].expand(CODES, -1)[others]
            torch.testing.assert_close(quantizer.codebook.detach()[others], expected)
        elif step < 2:
            assert moved.sum() <= (decay is not None)
    assert quantizer.idle.max() <= 3 and quantizer.idle[used] == 0


def test_k_means_finds_the_centres_and_asks_for_enough_vectors() -> None:
    truth = torch.eye(DIM)
    noise = 0.05 * torch.randn(400, DIM, generator=torch.Generator().manual_seed(0))
    found = centres(normalize(truth.repeat(100, 1) + noise, dim=-1), DIM, 10, 3)
    nearest = (found @ truth.T).amax(-1)
    assert (nearest > 0.7).all()
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(DIM))
    with pytest.raises(ValueError, match="start_images give 3 vectors, fewer than 4 codes"):
        centres(truth[:3], DIM, 10, 0)


def test_perplexity_is_the_number_of_codes_that_are_equally_frequent() -> None:
    assert perplexity(torch.tensor([3, 3, 3, 0])).item() == pytest.approx(3)
    assert perplexity(torch.tensor([7, 0, 0, 0])).item() == pytest.approx(1)
    assert perplexity(torch.zeros(4)).item() == pytest.approx(1)


def test_a_dying_codebook_ends_the_training_with_advice_once_the_grace_is_over() -> None:
    quantizer = built(least=0.5, grace=0.5)
    one = torch.ones(2, 5, DIM)

    def epoch(number: int) -> None:
        for step in range(4 * number, 4 * number + 4):
            quantizer(one, clock(step))
            quantizer.after_step(clock(step))

    epoch(0)
    epoch(1)
    with pytest.raises(Diverged, match=r"1 of 16 codes are in use, perplexity 1\.0, less than"):
        epoch(2)
