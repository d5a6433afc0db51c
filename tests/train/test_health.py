"""Health: what it measures is right where the answer is known."""

from __future__ import annotations

import pytest
import torch
from toy import toy_method, toy_run

from mimflow.draw import Draw
from mimflow.train.clock import Clock
from mimflow.train.flops import cost_of, peak_of
from mimflow.train.health import Look, rank_me, similarity


def test_the_rank_of_equal_directions_is_their_number() -> None:
    assert rank_me(torch.eye(16)).item() == pytest.approx(16, rel=1e-4)
    assert rank_me(torch.ones(16, 8)).item() == pytest.approx(1, rel=1e-4)


def test_similarity_is_the_mean_cosine_of_pairs() -> None:
    x = torch.randn(3, 5, 7, dtype=torch.float64)
    unit = x / x.norm(dim=-1, keepdim=True)
    pairs = [
        (unit[b, i] @ unit[b, j]).item()
        for b in range(3)
        for i in range(5)
        for j in range(5)
        if i != j
    ]
    assert similarity(x).item() == pytest.approx(sum(pairs) / len(pairs), rel=1e-9)
    assert similarity(torch.ones(2, 4, 3)).item() == pytest.approx(1)


def test_a_look_keeps_tokens_only_when_wanted_and_once() -> None:
    method = toy_method(toy_run())
    look = Look(method.encoder)  # type: ignore[arg-type]
    batch = {"image": torch.randn(4, 3, 32, 32), "place": torch.arange(4)}
    arguments = batch, Draw(batch["place"], "step", 0, 0), Clock(0, 1, 0.0, 1.0)
    method(*arguments)
    assert look.measure() == {}
    look.wanted = True
    method(*arguments)
    assert set(look.measure()) == {"rank", "similarity"} and look.measure() == {}


def test_the_arithmetic_of_a_step_is_what_the_shapes_say() -> None:
    run = toy_run()
    batch = {"image": torch.randn(4, 3, 32, 32), "place": torch.arange(4)}
    cost = cost_of(toy_method(run), batch, 0)
    width, narrow, visible, patches = 32, 16, 16, 64
    hidden = patches - visible

    def block(tokens: int, made: int, d: int) -> float:  # keys and values of all, the rest of some
        return 2 * d * d * (2 * tokens + 10 * made) + 2 * 2 * tokens * made * d

    # Every product has two in the backward pass, but the first has none for the pixels.
    embed, rest = 2 * visible * 48 * width, 2 * block(visible + 1, visible + 1, width)
    rest += 2 * (visible + 1) * width * narrow + block(patches + 1, hidden, narrow)
    rest += 2 * hidden * narrow * 48
    assert cost.tokens == visible + 1
    assert cost.flops == 2 * embed + 3 * rest


def test_peaks_are_known_by_name_and_unknown_otherwise() -> None:
    assert peak_of("NVIDIA H100 80GB HBM3") == 989e12 and peak_of("NVIDIA H100 PCIe") == 756e12
    assert peak_of("cpu") is None
