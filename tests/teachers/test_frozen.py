"""One interface to every teacher: tokens, the whole image, attention; weights that never move."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from making import IMAGES, VIT, place, saved
from toy import make_shards

from mimflow.data.shards import Shards
from mimflow.encoder import build_encoder, described, save_encoder
from mimflow.files import sha256
from mimflow.params.check import parse
from mimflow.params.teachers import RandomTeacher, RunTeacher
from mimflow.teachers import random, run
from mimflow.teachers.frozen import Teacher, open_teacher, read_card
from mimflow.tokenizers.network import load_network

OTHERS: dict[str, dict[str, Any]] = {
    "beit": {**VIT, "kind": "beit", "name": "beit_base_patch16_224", "bias": "shared"}
    | {"absolute": False, "layer_scale": 0.1, "drop_path": 0.0},
    "relative": {**VIT, "kind": "relative"},
    "grid": {"kind": "grid", "name": "swin_tiny_patch4_window7_224", "img_size": 32}
    | {
        "kwargs": {"patch_size": 2, "window_size": 4, "embed_dim": 16, "depths": [2, 2]}
        | {"num_heads": [1, 2], "drop_path_rate": 0.0}
    },
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return make_shards(tmp_path_factory.mktemp("data"))


def drawn(shards: Shards, folder: Path, encoder: dict[str, Any] = VIT, seed: int = 0) -> Teacher:
    values = {"kind": "random", "needs": IMAGES, "seed": seed, "encoder": encoder}
    made = random.make(parse(RandomTeacher, values, "teachers.t"), place(shards, folder))
    return saved(made, shards, folder, "random")


def pictures(size: int = 32) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_tokens_and_class_token_are_those_of_the_encoder(shards: Shards, tmp_path: Path) -> None:
    teacher = drawn(shards, tmp_path)
    x = teacher.held[0].forward_features(pictures())  # type: ignore[operator]
    seen = teacher(pictures())
    assert torch.equal(seen.tokens, x[:, 1:]) and torch.equal(seen.whole, x[:, 0])
    assert seen.attention is None
    card = json.loads((tmp_path / "card.json").read_bytes())
    assert card["grid"] == [4, 4] and card["width"] == 24 and card["attention"]
    assert card["sha256"] == sha256(tmp_path / "weights.safetensors")


def test_attention_is_the_last_blocks_own_softmax(shards: Shards, tmp_path: Path) -> None:
    teacher = drawn(shards, tmp_path)
    vit: Any = teacher.held[0]
    caught: list[torch.Tensor] = []
    hook = vit.blocks[-1].attn.register_forward_pre_hook(lambda m, i: caught.append(i[0]))
    seen = teacher(pictures(), attention=True)
    hook.remove()
    heads = vit.blocks[-1].attn.qkv(caught[0]).unflatten(-1, (3, 2, 12)).permute(2, 0, 3, 1, 4)
    look = (heads[0] @ heads[1].transpose(-2, -1) / 12**0.5).softmax(-1)  # (B, heads, T, T)
    torch.testing.assert_close(seen.attention, look[:, :, 0, 1:].mean(1))
    total = seen.attention.sum(1) + look[:, :, 0, 0].mean(1)
    torch.testing.assert_close(total, torch.ones(3))
    torch.testing.assert_close(seen.tokens, teacher(pictures()).tokens)  # looking changes nothing


def test_without_the_final_norm_the_norm_gives_the_tokens(shards: Shards, tmp_path: Path) -> None:
    teacher = drawn(shards, tmp_path)
    vit: Any = teacher.held[0]
    torch.nn.init.normal_(vit.norm.weight)
    plain, normed = teacher(pictures(), norm=False), teacher(pictures())
    torch.testing.assert_close(vit.norm(plain.tokens), normed.tokens)
    torch.testing.assert_close(vit.norm(plain.whole), normed.whole)


@pytest.mark.parametrize("kind", OTHERS)
def test_every_encoder_kind_is_a_teacher(shards: Shards, tmp_path: Path, kind: str) -> None:
    teacher = drawn(shards, tmp_path, OTHERS[kind])
    seen = teacher(pictures())
    card = teacher.card
    assert seen.tokens.shape == (3, card["grid"][0] ** 2, card["width"])
    assert seen.whole.shape == (3, card["width"])
    if card["attention"]:
        look = teacher(pictures(), attention=True).attention
        assert look.shape == seen.tokens.shape[:2] and (look >= 0).all() and (look.sum(1) < 1).all()
    else:
        with pytest.raises(ValueError, match="no class token"):
            teacher(pictures(), attention=True)


def test_its_weights_are_no_part_of_a_method_and_never_move(shards: Shards, tmp_path: Path) -> None:
    method = torch.nn.Module()
    method.teacher = drawn(shards, tmp_path)
    assert not list(method.parameters()) and not method.state_dict()
    before = copy.deepcopy(method.teacher.held[0].state_dict())
    method.train()
    student = torch.nn.Linear(24, 24)
    seen = method.teacher(pictures())
    (student(seen.tokens) - seen.tokens).square().mean().backward()
    assert not method.teacher.held[0].training and not seen.tokens.requires_grad
    after = method.teacher.held[0].state_dict()
    assert all(torch.equal(x, after[key]) for key, x in before.items())
    assert torch.equal(method.teacher(pictures()).tokens, seen.tokens)
    assert method.to(torch.float64).teacher.held[0].norm.weight.dtype == torch.float64


def test_images_in_the_datas_statistics_are_seen_in_the_teachers(
    shards: Shards, tmp_path: Path
) -> None:
    encoder = build_encoder(described(parse(RandomTeacher, RANDOM, "t").encoder))
    card = described(parse(RandomTeacher, RANDOM, "t").encoder)
    own = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    save_encoder(tmp_path / "runs/a/encoder.safetensors", encoder, {**card, **own})
    params = RunTeacher(kind="run", needs="runs/a/encoder.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        made = run.make(params, place(shards, tmp_path))
    teacher = saved(made, shards, tmp_path / "t", "run")
    pixels = torch.rand(3, 3, 32, 32)
    ours = (pixels - part(shards.mean)) / part(shards.std)
    theirs = (pixels - part(own["mean"])) / part(own["std"])
    expected = encoder.eval().forward_features(theirs)[:, 1:]  # type: ignore[operator]
    torch.testing.assert_close(teacher(ours).tokens, expected, rtol=1e-4, atol=1e-5)
    assert teacher.card["origin"]["file"] == "runs/a/encoder.safetensors"


RANDOM = {"kind": "random", "needs": IMAGES, "seed": 0, "encoder": VIT}


def part(values: list[float]) -> torch.Tensor:
    return torch.tensor(values)[:, None, None]


def test_pictures_of_another_size_are_scaled_to_the_teachers(
    shards: Shards, tmp_path: Path
) -> None:
    teacher = drawn(shards, tmp_path)
    assert teacher(pictures(48)).tokens.shape == (3, 16, 24)


def test_the_seed_draws_the_random_teacher_and_its_file_is_the_same_each_time(
    shards: Shards, tmp_path: Path
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        drawn(shards, tmp_path / name, seed=seed)
    files = [(tmp_path / n / "weights.safetensors").read_bytes() for n in "abc"]
    assert files[0] == files[1] != files[2]


def test_opening_a_teacher_draws_nothing(shards: Shards, tmp_path: Path) -> None:
    drawn(shards, tmp_path)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    open_teacher(tmp_path / "weights.safetensors")
    assert torch.equal(torch.rand(3), expected)


def test_a_file_that_is_no_teacher_is_named(shards: Shards, tmp_path: Path) -> None:
    save_encoder(tmp_path / "e.safetensors", torch.nn.Linear(2, 2), {})
    for name in ("e.safetensors", "nothing.safetensors"):
        with pytest.raises(ValueError, match=f"{name}: not a teacher with a card"):
            read_card(tmp_path / name)
    with pytest.raises(ValueError, match="not a teacher"):
        open_teacher(tmp_path / "e.safetensors")


@pytest.mark.parametrize("width", [None, 5])
def test_a_tokenizer_sees_the_tokens_of_a_teacher(
    shards: Shards, tmp_path: Path, width: int | None
) -> None:
    values = {"kind": "random", "needs": IMAGES, "seed": 0, "encoder": VIT}
    made = random.make(parse(RandomTeacher, values, "teachers.t"), place(shards, tmp_path))
    projection = None if width is None else torch.randn(width, VIT["embed_dim"])
    teacher = saved(made._replace(projection=projection), shards, tmp_path, "random")
    pixels = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (shards.mean, shards.std))
    network = load_network(tmp_path / "weights.safetensors", 32)
    found, expected = network.tokens(pixels), teacher((pixels - mean) / std).tokens
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert found.shape[2] == (width or VIT["embed_dim"])
