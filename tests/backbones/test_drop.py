"""Drop path: drawn by place, right in the mean, off in evaluation."""

from __future__ import annotations

import pytest
import torch
from toy import toy_method, toy_run

from mimflow.backbones.drop import DropPath, draw_paths, drop_paths
from mimflow.draw import Draw


def dropped(places: torch.Tensor, step: int = 0) -> torch.Tensor:
    layer = DropPath(0.25, "drop")
    draw_paths(layer, Draw(places, "step", 0, step))
    return layer(torch.ones(len(places), 2, 3))


def test_an_image_is_kept_or_left_out_whole_and_the_mean_stays() -> None:
    out = dropped(torch.arange(20_000))
    values = out.flatten(1)
    assert (values == values[:, :1]).all()
    assert values[:, 0].unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert values.mean().item() == pytest.approx(1, abs=0.02)


def test_the_choice_belongs_to_the_place_not_to_the_division_of_the_batch() -> None:
    whole = dropped(torch.arange(64))
    halves = torch.cat([dropped(torch.arange(32)), dropped(torch.arange(32, 64))])
    assert torch.equal(whole, halves) and not torch.equal(whole, dropped(torch.arange(64), 1))


def test_the_rate_grows_with_depth_and_evaluation_drops_nothing() -> None:
    vit = toy_method(toy_run()).encoder
    drop_paths(vit, 0.2)  # type: ignore[union-attr, arg-type]
    rates = [b.drop_path1.rate for b in vit.blocks]  # type: ignore[union-attr]
    assert rates == [0.0, 0.2]
    layer = DropPath(0.9, "drop").eval()
    x = torch.ones(4, 2)
    assert layer(x) is x
