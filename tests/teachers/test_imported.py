"""Towers that others trained: equal to a reference, or refused with one line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from clip_tower import Tower
from making import place, saved
from safetensors.torch import load_file, save_file
from toy import make_shards

from mimflow.data.shards import Shards
from mimflow.encoder import build_timm, save_encoder
from mimflow.files import sha256
from mimflow.params.check import parse
from mimflow.params.teachers import ImportedTeacher
from mimflow.teachers.imported import make

NAME = "vit_base_patch16_clip_quickgelu_224"
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return make_shards(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def tower() -> Tower:
    torch.manual_seed(0)
    return Tower(32, 8, 32, 2, 4, 12).eval()


def entry(path: Path, **changes: Any) -> ImportedTeacher:
    values = {
        "kind": "imported",
        "needs": str(path),
        "sha256": sha256(path) if path.exists() else "0" * 64,
        "timm": {"name": NAME, "kwargs": SMALL},
        "names": "clip",
        "projection": 12,
        "mean": [0.48, 0.46, 0.41],
        "std": [0.27, 0.26, 0.28],
        "licence": "MIT, say",
    }
    parsed = parse(ImportedTeacher, {**values, **changes}, "teachers.t")
    assert isinstance(parsed, ImportedTeacher)
    return parsed


def save(path: Path, state: dict[str, torch.Tensor], whole: bool = False) -> Path:
    """`whole`: as a file of the whole model has it."""
    if whole:
        state = {f"visual.{key}": x for key, x in state.items()}
        state |= {"logit_scale": torch.tensor(1.0), "transformer.resblocks.0.x": torch.ones(2)}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def agree(teacher: Any, tower: Tower, images: torch.Tensor) -> None:
    teacher.card["renormalised"] = False  # the reference is given the tower's own statistics
    seen = teacher(images, attention=True)
    for ours, theirs in zip(seen, tower(images), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("file", ["w.safetensors", "w.pt", "whole.pt"])
def test_a_tower_by_clips_names_gives_what_clip_gives(
    shards: Shards, tower: Tower, tmp_path: Path, file: str
) -> None:
    path = save(tmp_path / file, tower.state_dict(), whole=file == "whole.pt")
    made = make(entry(path), place(shards, tmp_path))
    teacher = saved(made, shards, tmp_path / "t", "imported")
    agree(teacher, tower, torch.randn(2, 3, 32, 32))
    card = teacher.card
    assert card["width"] == 12 and card["grid"] == [4, 4] and card["licence"] == "MIT, say"
    assert card["mean"] == [0.48, 0.46, 0.41] and card["origin"]["sha256"] == sha256(path)


@pytest.mark.slow
def test_the_real_architecture_of_clip_gives_what_clip_gives(
    shards: Shards, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    tower = Tower(224, 16, 768, 12, 12, 512).eval()
    path = save(tmp_path / "clip.safetensors", tower.state_dict(), whole=True)
    real = entry(path, timm={"name": NAME, "kwargs": {}}, projection=512)
    teacher = saved(make(real, place(shards, tmp_path)), shards, tmp_path / "t", "imported")
    assert teacher.card["grid"] == [14, 14] and teacher.card["width"] == 512
    agree(teacher, tower, torch.randn(2, 3, 224, 224))


def test_timms_names_and_the_artifacts_own_file_are_taken_as_well(
    shards: Shards, tower: Tower, tmp_path: Path
) -> None:
    path = save(tmp_path / "w.safetensors", tower.state_dict())
    first = saved(make(entry(path), place(shards, tmp_path)), shards, tmp_path / "t", "imported")
    again = entry(tmp_path / "t/weights.safetensors", names="timm")
    second = saved(make(again, place(shards, tmp_path)), shards, tmp_path / "u", "imported")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(first(x).tokens, second(x).tokens)


def test_the_position_table_is_resized_to_another_grid(
    shards: Shards, tower: Tower, tmp_path: Path
) -> None:
    path = save(tmp_path / "w.safetensors", tower.state_dict())
    larger = entry(path, timm={"name": NAME, "kwargs": {**SMALL, "img_size": 64}})
    made = make(larger, place(shards, tmp_path))
    table: Any = made.encoder.state_dict()["pos_embed"]
    own = tower.positional_embedding
    assert table.shape == (1, 65, 32) and torch.equal(table[0, 0], own[0])
    grid = table[0, 1:].unflatten(0, (8, 8)).permute(2, 0, 1)
    back = torch.nn.functional.avg_pool2d(grid[None], 2)[0].flatten(1).T  # smooth: near the old one
    assert torch.corrcoef(torch.stack([back.flatten(), own[1:].flatten()]))[0, 1] > 0.9


def test_a_file_of_another_hash_is_refused(shards: Shards, tower: Tower, tmp_path: Path) -> None:
    path = save(tmp_path / "w.safetensors", tower.state_dict())
    with pytest.raises(ValueError, match=r"w.safetensors: sha256 is .*sha256 expects 00000"):
        make(entry(path, sha256="0" * 64), place(shards, tmp_path))


def test_another_architecture_and_missing_keys_are_refused(
    shards: Shards, tower: Tower, tmp_path: Path
) -> None:
    path = save(tmp_path / "w.safetensors", tower.state_dict())
    here = place(shards, tmp_path)
    with pytest.raises(ValueError, match=r"cls_token is \(1, 1, 32\), but .* has \(1, 1, 64\)"):
        make(entry(path, timm={"name": NAME, "kwargs": {**SMALL, "embed_dim": 64}}), here)
    with pytest.raises(ValueError, match=r"has no blocks.2.norm1.weight, .* needs"):
        make(entry(path, timm={"name": NAME, "kwargs": {**SMALL, "depth": 3}}), here)
    with pytest.raises(ValueError, match=r"projection of width 5 is expected; .* width 12"):
        make(entry(path, projection=5), here)
    state = {k: x for k, x in tower.state_dict().items() if "ln_post" not in k}
    with pytest.raises(ValueError, match=r"has no norm.weight, norm.bias, which timm's"):
        make(entry(save(tmp_path / "x.pt", state)), here)


def test_a_card_of_other_heads_is_refused_though_all_shapes_agree(
    shards: Shards, tmp_path: Path
) -> None:
    kwargs = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 4}
    name = "vit_tiny_patch16_224"
    card = {"kind": "timm", "timm": {"name": name, "kwargs": kwargs}}
    path = tmp_path / "w.safetensors"
    save_encoder(path, build_timm(name, kwargs), card)
    wrong = {"name": name, "kwargs": {**kwargs, "num_heads": 2}}
    with pytest.raises(ValueError, match=r"says \[4, 4\] heads, but timm's .* has \[2, 2\]"):
        make(entry(path, timm=wrong, names="timm", projection=None), place(shards, tmp_path))


def test_code_in_a_pickle_is_refused_and_does_not_run(shards: Shards, tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (ran,))

    raw, zipped = tmp_path / "raw.pth", tmp_path / "zip.pth"
    raw.write_bytes(pickle.dumps({"visual.proj": Evil()}, protocol=2))
    torch.save({"visual.proj": Evil()}, zipped)
    for path in (raw, zipped):
        with pytest.raises(ValueError, match="not a checkpoint of tensors alone"):
            make(entry(path), place(shards, tmp_path))
    assert not ran.exists()


def test_the_weights_that_are_written_are_the_ones_that_were_given(
    shards: Shards, tower: Tower, tmp_path: Path
) -> None:
    path = save(tmp_path / "w.safetensors", tower.state_dict())
    saved(make(entry(path), place(shards, tmp_path)), shards, tmp_path / "t", "imported")
    state = load_file(tmp_path / "t/weights.safetensors")
    assert torch.equal(state["head.weight"], tower.proj.detach().T)
    assert torch.equal(state["patch_embed.proj.weight"], tower.conv1.weight.detach())
