"""What becomes a feature, for a ViT and for a model without tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import make_shards

from mimflow.backbones.vit import build_vit, encode
from mimflow.encoder import build_timm, save_encoder
from mimflow.evals import features, tokens
from mimflow.evals.features import input_size, patch_tokens, poolings, write_features
from mimflow.evals.origin import of_file, of_pixels, of_random, open_origin, read_card
from mimflow.evals.stored import read_features
from mimflow.params.sections import Features, PixelControl, RandomControl
from mimflow.targets.pixels import patchify

VIT: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 4,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
}
NAME = "vit_tiny_patch16_224"
HOW = Features(train_images=60, threads=1, precision="bf16", batch=25)


def test_a_vits_features_are_the_class_token_and_the_mean_of_the_patches() -> None:
    vit = build_vit(NAME, {**VIT, "num_classes": 0, "global_pool": "token"}).eval()
    x = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        found, latent = poolings(vit, vit.forward_features(x)), encode(vit, patchify(x, 4))
    torch.testing.assert_close(found["cls"], latent[:, 0])
    torch.testing.assert_close(found["mean"], latent[:, 1:].mean(1))
    assert patch_tokens(vit, latent).shape == (3, 64, 32) and input_size(vit) == 32


@pytest.mark.parametrize(
    ("name", "kwargs", "places"),
    [
        (NAME, {**VIT, "global_pool": "avg"}, 64),
        ("resnet10t", {}, 4),
        ("convnext_atto", {}, 1),
        ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2, "embed_dim": 24}, 4),
    ],
)
def test_the_mean_is_what_timm_pools(name: str, kwargs: dict[str, Any], places: int) -> None:
    model: Any = build_timm(name, kwargs).eval()
    size = kwargs.get("img_size", 64 if name == "resnet10t" else 32)
    x = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        latent = model.forward_features(x)
        torch.testing.assert_close(poolings(model, latent)["mean"], model(x))
        assert patch_tokens(model, latent).shape[:2] == (2, places)


def test_a_model_without_patches_has_timms_input_size() -> None:
    assert input_size(build_timm("resnet10t", {})) == 176


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shards of 150 images where the stages look for them, and an encoder."""
    monkeypatch.chdir(tmp_path)
    make_shards(tmp_path)
    monkeypatch.setattr(features, "INDEX", Path("index.json"))
    monkeypatch.setattr(features, "FOLDER", Path("shards"))
    torch.manual_seed(0)
    vit = build_vit(NAME, {**VIT, "num_classes": 0, "global_pool": "token"})
    card = {
        "kind": "timm",
        "timm": {"name": NAME, "kwargs": VIT},
        "mean": [0.5] * 3,
        "std": [0.3] * 3,
    }
    save_encoder(Path("runs/a/encoder.safetensors"), vit, card)
    return tmp_path


def test_the_tokens_of_a_feature_file_are_those_of_its_encoder(data: Path) -> None:
    path = Path("features/a.safetensors")
    write_features(path, [of_file(Path("runs/a/encoder.safetensors"), HOW)], HOW)
    [draw], labels = read_features(path)
    assert len(labels["train"]) == 60
    for found in tokens.token_draws(path, HOW):
        x = found["tokens"]["held"]
        assert x.shape == (10, 64, 32) and x.dtype == np.float16
        np.testing.assert_allclose(x.mean(1, dtype=np.float32), draw["mean"]["held"], atol=2e-3)
        x = found["tokens"]["train"]
        np.testing.assert_allclose(x.mean(1, dtype=np.float32), draw["mean"]["train"], atol=2e-3)
    assert not list(Path("state").iterdir())


def test_random_weights_are_the_same_again_and_differ_from_draw_to_draw(data: Path) -> None:
    encoder = {**VIT, "kind": "vit", "name": NAME}
    control = RandomControl.model_validate(
        {"kind": "random", "seed": 0, "draws": 2, "encoder": encoder}
    )
    path = Path("features/random.safetensors")
    write_features(path, [of_random(control, n, HOW) for n in range(2)], HOW)
    draws, _ = read_features(path)
    found = list(tokens.token_draws(path, HOW))
    assert len(found) == 2
    assert not np.array_equal(draws[0]["cls"]["train"], draws[1]["cls"]["train"])
    models = [open_origin(o).model.state_dict() for o in read_card(path)["origins"]]
    again = [open_origin(o).model.state_dict() for o in read_card(path)["origins"]]
    assert all(torch.equal(x, again[0][k]) for k, x in models[0].items())
    assert not torch.equal(
        models[0]["blocks.0.attn.qkv.weight"], models[1]["blocks.0.attn.qkv.weight"]
    )


def test_another_encoder_than_the_features_is_refused(data: Path) -> None:
    encoder, path = Path("runs/a/encoder.safetensors"), Path("features/a.safetensors")
    write_features(path, [of_file(encoder, HOW)], HOW)
    encoder.write_bytes(encoder.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="not the encoder that the features were made from"):
        next(tokens.token_draws(path, HOW))


def test_pixels_have_features_and_no_origin(data: Path) -> None:
    path = Path("features/pixels.safetensors")
    control = PixelControl(kind="pixels", img_size=8)
    write_features(path, [of_pixels(control, HOW)], HOW)
    [draw], _ = read_features(path)
    assert draw["pixels"]["held"].shape == (10, 192) and read_card(path)["origins"] == [{}]
    assert 0 <= draw["pixels"]["train"].min() < draw["pixels"]["train"].max() <= 1


def test_too_small_a_disk_is_said_before_it_is_full(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"take 1048576.0 GiB, but \. has .* MIMFLOW_SCRATCH"):
        tokens._check_room(1 << 50, Path())
