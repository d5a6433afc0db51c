"""The caption teacher: what it reads, what counts as right, and that it is made like any other."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import BUDGET, IMAGES, VIT, place, saved
from torch import Tensor
from toy import make_shards

from mimflow.data.shards import Shards
from mimflow.draw import Draw
from mimflow.encoder import described, save_encoder
from mimflow.params.caption import CaptionTeacher
from mimflow.params.check import parse
from mimflow.teachers.caption import _among, build, make
from mimflow.teachers.reading import numbered, read_captions, thinned, vocabulary
from mimflow.train.clock import Clock

TEXT = {"width": 16, "depth": 1, "num_heads": 2, "length": 24, "drop_words": 0.5}
CAPTION = {**BUDGET, "kind": "caption", "needs": IMAGES, "encoder": VIT, "text": TEXT}
CAPTION |= {"augment": {"kind": "shift", "amount": 2, "flip": False}, "joint": 12}
CAPTION |= {"temperature": 0.07}
CLOCK = Clock(0, 10, 0.0, 1.0)


def params(**changes: Any) -> CaptionTeacher:
    parsed = parse(CaptionTeacher, {**CAPTION, **changes}, "teachers.t")
    assert isinstance(parsed, CaptionTeacher)
    return parsed


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy data set where the stage finds it."""
    root = tmp_path_factory.mktemp("root")
    (root / "data").mkdir()
    make_shards(root / "data")
    return root


@pytest.fixture
def shards(root: Path, monkeypatch: pytest.MonkeyPatch) -> Shards:
    monkeypatch.chdir(root)
    return Shards(Path("data/index.json"), Path("data/shards"), "train")


def batch_of(count: int = 16) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(1, 9, (count, 24), generator=generator)
    return {"image": torch.randn(count, 3, 32, 32, generator=generator), "text": text}


def test_words_are_numbered_and_an_unknown_one_is_named(shards: Shards) -> None:
    captions = read_captions(shards)
    words = vocabulary(captions)
    text = numbered(captions, words, 24)
    back = {number: word for word, number in words.items()}
    assert [" ".join(back[i] for i in row if i) for row in text.tolist()] == captions
    with pytest.raises(ValueError, match="no training caption has 'elephant'"):
        numbered(["a red elephant"], words, 24)


def test_some_words_are_left_out_and_the_order_of_the_others_is_kept() -> None:
    text = np.tile(np.r_[np.arange(1, 13), np.zeros(4, int)], (500, 1))
    draw = Draw(np.arange(500), "x")
    assert np.array_equal(thinned(text, draw, 0.0), text)
    out = thinned(text, draw, 0.9)
    kept = (out > 0).sum(1)
    assert kept.min() >= 1 and kept.max() <= 12 and 0.45 < kept.mean() / 12 < 0.65
    for row in out:
        words = row[row > 0]
        assert (np.diff(words) > 0).all() and (row[len(words) :] == 0).all()


def test_what_is_no_word_changes_nothing() -> None:
    torch.manual_seed(0)
    reader = build(params(), 9).reader
    text = torch.tensor([[3, 1, 4] + [0] * 21])
    long = build(params(text={**TEXT, "length": 30}), 9).reader
    state = reader.state_dict()
    long.load_state_dict({**state, "places": torch.cat([state["places"], torch.randn(6, 16)])})
    torch.testing.assert_close(reader(text), long(torch.tensor([[3, 1, 4] + [0] * 27])))


def test_equal_captions_are_all_right() -> None:
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    alone = torch.eye(3).bool()
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(3))
    torch.testing.assert_close(_among(logits, alone), expected)
    both = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    loss = -logits.log_softmax(1)
    mean = (loss[0, :2].mean() + loss[1, :2].mean() + loss[2, 2]) / 3
    torch.testing.assert_close(_among(logits, both), mean)


def test_the_loss_begins_near_chance_and_every_parameter_learns() -> None:
    torch.manual_seed(0)
    method = build(params(temperature=1.0), 9)
    out = method(batch_of(), Draw(torch.arange(16), "x"), CLOCK)
    assert float(out["loss"].detach()) == pytest.approx(math.log(16), rel=0.15)
    out["loss"].backward()
    still = {n for n, p in method.named_parameters() if p.grad is None}
    assert still == {"encoder.pos_embed"}


def test_chunks_change_neither_loss_nor_gradient() -> None:
    torch.manual_seed(0)
    method, found = build(params(), 9), []
    for chunk in (None, 4):
        one = copy.deepcopy(method)
        one.chunk = chunk
        loss = one(batch_of(), Draw(torch.arange(16), "x"), CLOCK)["loss"]
        loss.backward()
        found.append((loss.detach(), one.encoder.blocks[0].attn.qkv.weight.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_a_teacher_is_made_and_its_card_says_what_it_sees(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(params(), place(shards, Path("state")))
    teacher = saved(made, shards, Path("t"), "caption")
    card = teacher.card
    assert card["width"] == 12 and card["projection"] == 12
    measured = card["measured"]
    assert measured["chance"] == 0.1 and 0 <= measured["zero_shot"] <= 1
    assert 0 < measured["area"] < 0.5 and 0 < measured["on_objects"] < 1
    again = make(params(), place(shards, Path("again")))
    assert again.card == made.card
    theirs = again.encoder.state_dict()
    assert all(torch.equal(x, theirs[key]) for key, x in made.encoder.state_dict().items())


@pytest.mark.parametrize("names", [[], ["star", "elephant"]])
def test_without_the_names_of_the_classes_no_zero_shot_is_measured(
    shards: Shards, names: list[str]
) -> None:
    shards.label_names = names
    made = make(params(samples=32), place(shards, Path(f"state-{len(names)}")))
    assert set(made.card["measured"]) == {"on_objects", "area"}


def test_missing_held_out_images_are_told_before_the_training(shards: Shards) -> None:
    shards.held_out = "val"
    with pytest.raises(ValueError, match=r"no image is in the split 'val'"):
        make(params(), place(shards, Path("never")))
    assert not Path("never").exists()


def test_it_may_begin_with_the_weights_of_a_run_of_the_same_encoder(shards: Shards) -> None:
    encoder = build(params(), 9).encoder
    card = described(params().encoder)
    save_encoder(Path("runs/a/encoder.safetensors"), encoder, card)
    begun = build(params(needs="runs/a/encoder.safetensors"), 9).encoder
    assert all(
        torch.equal(x, y) for x, y in zip(begun.parameters(), encoder.parameters(), strict=True)
    )
    other = params(needs="runs/a/encoder.safetensors", encoder={**VIT, "num_heads": 4})
    with pytest.raises(ValueError, match=r"runs/a/encoder.safetensors: its encoder is .* not that"):
        build(other, 9)


def test_flipped_views_are_refused() -> None:
    with pytest.raises(ValueError, match="left and right would be wrong"):
        params(augment={"kind": "shift", "amount": 2, "flip": True})
