"""Weights that others trained, on the real architecture with made-up weights."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from mimflow.encoder import load_encoder, save_encoder
from mimflow.foreign import import_encoder

NAME = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """The real architecture with its head of 1000 classes."""
    torch.manual_seed(0)
    return timm.create_model(NAME).state_dict()


def save(path: Path, state: dict[str, Any]) -> Path:
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


@pytest.mark.parametrize("nested", ["", "model", "state_dict"])
def test_every_kind_of_file_gives_the_same_encoder_without_its_head(
    state: dict[str, torch.Tensor],
    nested: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if nested:
        path = save(tmp_path / "w.pth", {nested: state, "epoch": 3})
    else:
        path = save(tmp_path / "w.safetensors", state)
    encoder = import_encoder(path, NAME, {})
    assert "not part of the encoder: head.bias, head.weight\n" in capsys.readouterr().err
    assert not encoder.training
    found = encoder.state_dict()
    assert set(found) == {key for key in state if not key.startswith("head.")}
    assert all(torch.equal(x, state[key]) for key, x in found.items())


def test_an_imported_encoder_is_an_artifact_like_ours(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    encoder = import_encoder(save(tmp_path / "w.pt", state), NAME, {})
    card = {
        "kind": "timm",
        "timm": {"name": NAME, "kwargs": {}},
        "mean": [0.5] * 3,
        "std": [0.2] * 3,
    }
    save_encoder(tmp_path / "encoder.safetensors", encoder, card)
    again, found = load_encoder(tmp_path / "encoder.safetensors")
    x = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(again.forward_features(x), encoder.forward_features(x))
    assert found == card


def test_a_missing_weight_or_another_shape_is_named(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = save(tmp_path / "w.pt", {k: x for k, x in state.items() if "norm" not in k})
    with pytest.raises(ValueError, match=r"w.pt: has no blocks.0.norm1.weight, .* and 47 more"):
        import_encoder(path, NAME, {})
    path = save(tmp_path / "w.pt", state)
    with pytest.raises(ValueError, match=r"pos_embed is \(1, 197, 192\), but .*\(1, 5, 192\)"):
        import_encoder(path, NAME, {"img_size": 32})


def test_a_file_that_would_run_code_or_holds_no_tensors_is_refused(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (ran,))

    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps({"model": Evil()}, protocol=2))
    with pytest.raises(ValueError, match=r"w.pth: not a checkpoint of tensors alone"):
        import_encoder(path, NAME, {})
    torch.save({"model": Evil()}, path)
    with pytest.raises(ValueError, match=r"w.pth: not a checkpoint of tensors alone"):
        import_encoder(path, NAME, {})
    assert not ran.exists()
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match=r"w.pth: not a dictionary of tensors"):
        import_encoder(path, NAME, {})
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"w.safetensors: not safetensors"):
        import_encoder(tmp_path / "w.safetensors", NAME, {})


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="timm can not build vit_nothing"):
        import_encoder(tmp_path / "w.pt", "vit_nothing", {})
