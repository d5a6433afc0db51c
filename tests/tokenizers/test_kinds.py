"""What every tokenizer that is trained here keeps, over all of the zoo's: like a method, and an
artifact at the end.
"""

from __future__ import annotations

import copy
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy import LIMIT, make_shards

from mimflow.backbones.vit import build_vit, fuse_attention
from mimflow.data.augment import finish
from mimflow.data.loader import Batches
from mimflow.data.shards import Shards
from mimflow.draw import Draw
from mimflow.encoder import described, save_encoder
from mimflow.params.check import parse, schema_of
from mimflow.params.read import read_yaml
from mimflow.params.tokenizers import TOKENIZERS, Trained
from mimflow.ranks import Processes
from mimflow.tokenizers.frozen import load_tokenizer
from mimflow.tokenizers.publish import publish
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.clock import Clock
from mimflow.train.loop import clock_at, train
from mimflow.train.optim import build_optimiser, parameter_groups
from mimflow.train.outcome import Diverged, Interrupted
from mimflow.train.place import Place
from mimflow.train.record import Record
from mimflow.train.scale import LossScale
from mimflow.train.step import Stepper
from stages.tokenizers import _train

ROOT = Path(__file__).parents[2]
ZOO = read_yaml(ROOT / "presets/zoo.yaml")
ENTRIES = ZOO["tokenizers"]
CPU = torch.device("cpu")
LATE = Clock(9, 10, 0.9, 1.0)  # every term is there


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return make_shards(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run's encoder, with drawn weights."""
    run: Any = parse(schema_of("mae"), ZOO["runs"]["mae"], "runs.mae")
    torch.manual_seed(3)
    encoder = build_vit(run.encoder.name, run.encoder.timm())
    path = tmp_path_factory.mktemp("runs") / "encoder.safetensors"
    card = {**described(run.encoder), "mean": [0.5] * 3, "std": [0.25] * 3}
    save_encoder(path, encoder, card)
    return str(path)


def params_of(name: str, network: str, **changes: Any) -> Any:
    """The zoo's tokenizer for six steps."""
    values = copy.deepcopy(ENTRIES[name])
    values["compute"] |= {"threads": 1}
    values |= (
        {"sight": "fp32"} if "sight" in values else {}
    )  # so that sums are the same to rounding
    values |= {
        "samples": 6 * values["batch"],
        "held_images": 10,
        "least_perplexity": 0.0,
        **changes,
    }
    found = parse(TOKENIZERS[values["kind"]], values, f"tokenizers.{name}")
    assert isinstance(found, Trained)
    looks = values["kind"] in ("vqkd", "perceptual")  # here through a network that is no run's
    return found.model_copy(update={"needs": network}) if looks else found


def built(params: Any) -> Any:
    torch.manual_seed(params.seed)
    found = importlib.import_module(f"mimflow.tokenizers.{params.kind}").build(params)
    fuse_attention(found, CPU, backward=True)
    return found


def batches_of(shards: Shards, params: Any) -> Batches:
    views = importlib.import_module(f"mimflow.tokenizers.{params.kind}").views(params)
    return Batches(shards, views, params.batch, params.seed, LIMIT, 0, 1)


def render(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return finish([0.0] * 3, [1.0] * 3, CPU)(batch)


def rendered(shards: Shards, params: Any) -> dict[str, Tensor]:
    first = batches_of(shards, params)[0]
    return render({name: torch.as_tensor(x) for name, x in first.items()})


def lossy(tokenizer: nn.Module, batch: dict[str, Tensor], clock: Clock = LATE) -> dict[str, Tensor]:
    out: dict[str, Tensor] = tokenizer(batch, Draw(batch["place"], "step", 0, 3), clock)
    return out


@pytest.mark.parametrize("name", ENTRIES)
def test_the_loss_is_finite_and_every_trained_parameter_has_a_gradient(
    shards: Shards, network: str, name: str
) -> None:
    params = params_of(name, network)
    tokenizer = built(params)
    out = lossy(tokenizer, rendered(shards, params))
    assert next(iter(out)) == "loss" and "error" in out
    assert all(x.ndim == 0 and x.isfinite() for x in out.values())
    assert not any(x.requires_grad for key, x in out.items() if key != "loss")
    out["loss"].backward()
    for key, p in tokenizer.named_parameters():
        assert (p.grad is not None) == p.requires_grad, key
        if p.grad is not None:
            assert p.grad.isfinite().all() and p.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", ENTRIES)
def test_pictures_are_in_0_to_1_and_a_batch_is_as_it_was(
    shards: Shards, network: str, name: str
) -> None:
    params = params_of(name, network)
    batch = rendered(shards, params)
    assert batch["image"].min() >= 0 and 0.9 < batch["image"].max() <= 1
    tokenizer = built(params).eval()
    shown = tokenizer.pictures(batch, Draw(batch["place"], "x"), LATE)
    assert next(iter(shown)) == "input" and len(shown) >= 2
    assert all(x.shape == batch["image"].shape and x.isfinite().all() for x in shown.values())


@pytest.mark.parametrize("name", ENTRIES)
def test_micro_batches_give_the_loss_and_gradient_of_the_whole(
    shards: Shards, network: str, name: str
) -> None:
    params, found = params_of(name, network), []
    for micro in (params.batch, params.batch // 4):
        tokenizer = built(params)
        groups = parameter_groups(tokenizer.named_parameters(), 0.0, [])
        optimiser = build_optimiser(groups, params.optimiser)
        stepper = Stepper(tokenizer, tokenizer, optimiser, params, micro, LossScale(False, CPU))
        values = stepper.gradient(rendered(shards, params), clock_at(2, params, len(shards)))
        gradients = [p.grad for p in tokenizer.parameters() if p.grad is not None]
        found.append((values["loss"], gradients, tokenizer))
    (whole, gradient, first), (cut, again, second) = found
    torch.testing.assert_close(cut, whole, rtol=1e-5, atol=0)
    largest = max(float(x.abs().max()) for x in gradient)  # a bias before a norm has none but noise
    for ours, theirs in zip(again, gradient, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * largest)
    for tokenizer in (first, second):
        tokenizer.after_step(Clock(2, 6, 0.4, 2.0))
    for ours, theirs in zip(first.buffers(), second.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def trained(shards: Shards, params: Any, state: str) -> tuple[dict[str, Tensor], list[Any], Any]:
    tokenizer, alone = built(params), Processes(0, 1, 0)
    keep = Checkpoints(Path(state))
    if tokenizer.start_images and keep.latest() is None:
        tokenizer.start(rendered(shards, params)["image"])
    record = Record("tokenizers", "toy", CPU, alone)
    rows = train(tokenizer, batches_of(shards, params), render, params, keep, record, alone)
    return tokenizer.state_dict(), rows, tokenizer


@pytest.mark.parametrize("name", ENTRIES)
def test_a_resumed_training_ends_in_the_bits_of_one_that_was_not_stopped(
    shards: Shards, network: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CI", "1")
    params = params_of(name, network)
    whole, rows, _ = trained(shards, params, "whole")
    monkeypatch.setenv("MIMFLOW_SECONDS", "0")  # a deadline after the first steps
    with pytest.raises(Interrupted):
        trained(shards, params, "parts")
    monkeypatch.delenv("MIMFLOW_SECONDS")
    resumed, again, _ = trained(shards, params, "parts")
    assert whole.keys() == resumed.keys() and again == rows and len(rows) == 6
    assert all(torch.equal(x, resumed[key]) for key, x in whole.items())


class Died(BaseException):
    """What nothing catches, like a kill -9."""


@pytest.mark.parametrize("name", ["dvae", "perceptual"])
def test_a_training_that_dies_in_a_step_goes_on_from_its_last_checkpoint_to_the_same_bits(
    shards: Shards, network: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIMFLOW_CHECKPOINT_SECONDS", "0")  # after every step
    params = params_of(name, network)
    whole, rows, tokenizer = trained(shards, params, "whole")
    real = type(tokenizer).after_step

    def dies(self: Any, clock: Clock) -> dict[str, Tensor]:
        found: dict[str, Tensor] = real(self, clock)
        if clock.step == 4:
            raise Died
        return found

    with monkeypatch.context() as patched, pytest.raises(Died):
        patched.setattr(type(tokenizer), "after_step", dies)
        trained(shards, params, "parts")
    assert list((tmp_path / "parts").glob("[0-9]*.pt"))
    resumed, again, _ = trained(shards, params, "parts")
    assert again == rows
    assert all(torch.equal(x, resumed[key]) for key, x in whole.items())


@pytest.mark.parametrize("name", ENTRIES)
def test_the_artifact_gives_the_same_codes_and_says_how_good_it_is(
    shards: Shards, network: str, name: str, tmp_path: Path
) -> None:
    params = params_of(name, network)
    tokenizer = built(params)
    images = rendered(shards, params)["image"]
    if tokenizer.start_images:
        tokenizer.start(images)
    publish(tmp_path, tokenizer, shards, batches_of(shards, params), render, params)
    frozen = load_tokenizer(tmp_path / "weights.safetensors")
    codes = frozen.codes(images)
    assert codes.shape == (len(images), 64) and codes.min() >= 0 and codes.max() < 64
    assert torch.equal(codes, frozen.train().codes(images))
    torch.testing.assert_close(frozen.logits(images).argmax(-1), codes)
    if hasattr(tokenizer, "quantised"):
        scaled = images if params.kind == "vqkd" else 2 * images - 1
        assert torch.equal(codes, tokenizer.quantised(scaled, LATE).codes)
    else:
        assert torch.equal(codes, tokenizer.logits(tokenizer.enter(images)).argmax(-1))
    card = json.loads((tmp_path / "card.json").read_bytes())
    assert card["grid"] == [8, 8] and card["codes"] == 64 and card["samples"] == params.samples
    held = card["held"]
    assert held["images"] == 10 and 0 < held["usage"] <= 1 <= held["perplexity"] <= 64
    assert (held["psnr"] is None) == (params.kind == "vqkd")
    assert (tmp_path / "pictures.png").stat().st_size > 500


def test_missing_held_out_images_are_told_before_the_training(
    shards: Shards, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").symlink_to(shards.folder.parent)
    monkeypatch.chdir(tmp_path)
    lacking = copy.copy(shards)
    lacking.held_out = "val"
    place = Place("tokenizers", "t", tmp_path / "state", lacking, Processes(0, 1, 0), CPU)
    with pytest.raises(ValueError, match=r"no image is in the split 'val'"):
        _train(params_of("dvae", network), place)
    assert not (tmp_path / "state").exists()


def test_a_dead_codebook_leaves_no_artifact(shards: Shards, network: str, tmp_path: Path) -> None:
    params = params_of("dvae", network, least_perplexity=0.99)
    tokenizer = built(params)
    with pytest.raises(Diverged, match=r"the codebook dies.*a run on it would learn next to"):
        publish(tmp_path, tokenizer, shards, batches_of(shards, params), render, params)
    assert not list(tmp_path.iterdir())


def test_the_judge_takes_no_gradient_and_the_distance_is_a_mean_of_each_layer(
    network: str,
) -> None:
    from mimflow.tokenizers.network import load_network
    from mimflow.tokenizers.perceptual import perceived

    judge = load_network(Path(network), 32)
    one, other = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32).requires_grad_()
    distance = perceived(judge, one, other, [1, 2])
    assert distance > 0 and perceived(judge, one, one, [1, 2]) == 0
    torch.testing.assert_close(distance, perceived(judge, other.detach(), one, [1, 2]))
    distance.backward()
    assert other.grad is not None and other.grad.abs().sum() > 0
    assert all(p.grad is None for p in judge.parameters())
    states = judge.states(one, [1, 2])
    assert [x.shape for x in states] == [(2, 64, 32)] * 2  # no class token


def test_the_distance_is_the_same_of_more_images_places_or_channels() -> None:
    from mimflow.tokenizers.perceptual import perceived

    class Sees:
        """Layers that are a picture's own patches, repeated."""

        def __init__(self, images: int, places: int, channels: int):
            self.times = images, places, channels

        def states(self, images: Tensor, layers: list[int]) -> list[Tensor]:
            return [layer * images.flatten(2).repeat(*self.times) for layer in layers]

    one, other = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    mean = (one - other).square().mean()
    for times in ((1, 1, 1), (2, 1, 1), (1, 3, 1), (1, 1, 4)):
        judge: Any = Sees(*times)
        torch.testing.assert_close(perceived(judge, one, other, [1, 2]), (1 + 4) * mean)


def test_the_judge_sees_almost_the_same_in_bf16(shards: Shards, network: str) -> None:
    batch = rendered(shards, params_of("perceptual", network))
    exact, rough = (
        lossy(built(params_of("perceptual", network, sight=sight)), batch)["perceived"]
        for sight in ("fp32", "bf16")
    )
    assert exact != rough
    torch.testing.assert_close(exact, rough, rtol=2e-2, atol=0)


def test_at_weight_zero_it_is_the_plain_vq_vae(shards: Shards, network: str) -> None:
    params = params_of("pixels", network)
    tokenizer, batch = built(params), rendered(shards, params)
    out = lossy(tokenizer, batch)
    images = batch["image"] * 2 - 1
    found = tokenizer.quantised(images, LATE)
    plain = (tokenizer.decode(found.vectors) - images).square().mean() + found.loss
    torch.testing.assert_close(out["loss"], plain)
    assert "perceived" not in out and "perceived" in lossy(
        built(params_of("perceptual", network)), batch
    )


def test_equal_pictures_have_no_error() -> None:
    from mimflow.tokenizers.adversary import pixel_error

    x = torch.randn(2, 3, 8, 8)
    assert pixel_error(x, x, "squared") == pixel_error(x, x, "absolute") == 0


def test_the_adversary_is_trained_on_pictures_that_take_no_gradient(
    shards: Shards, network: str
) -> None:
    from mimflow.tokenizers.adversary import Opponent

    params = params_of("vqgan", network)
    torch.manual_seed(0)
    opponent = Opponent(params.adversary)
    real, made = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32).requires_grad_()
    term, own = opponent(real, made, LATE)
    term.backward(retain_graph=True)
    assert all(p.grad is None for p in opponent.parameters())
    assert made.grad is not None and made.grad.abs().sum() > 0
    made.grad = None
    own.backward()
    assert made.grad is None
    assert all(p.grad is not None for p in opponent.parameters())
    early = opponent(real, made, Clock(0, 10, 0.0, 1.0))
    assert all(x == 0 for x in early)


def test_the_teachers_features_are_those_of_its_encoder(network: str) -> None:
    from mimflow.encoder import load_encoder
    from mimflow.tokenizers.network import load_network

    encoder: Any = load_encoder(Path(network))[0]
    images = torch.rand(2, 3, 32, 32)
    theirs = encoder.forward_features((images - 0.5) / 0.25)[:, 1:]
    torch.testing.assert_close(load_network(Path(network), 32).tokens(images), theirs)


@pytest.mark.parametrize("name", ["vqkd", "perceptual"])
def test_a_network_for_pictures_of_another_size_is_refused(network: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"takes pictures of 32 pixels, but img_size is 64"):
        built(params_of(name, network, img_size=64))


def test_a_teacher_of_another_grid_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match=r"64 patch tokens of 32 pixels, but patch_size 8"):
        built(params_of("vqkd", network, patch_size=8))
