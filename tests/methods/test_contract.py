"""What every method keeps, over all runs of the zoo: one test for each clause of the contract."""

from __future__ import annotations

import atexit
import copy
import importlib
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from made import tokenizer_of
from torch import Tensor, nn
from toy import LIMIT, make_shards

from mimflow.backbones.vit import fuse_attention
from mimflow.data.augment import finish
from mimflow.data.loader import Batches
from mimflow.data.shards import Shards
from mimflow.draw import Draw
from mimflow.encoder import described, load_encoder, save_encoder
from mimflow.params.check import methods, parse, schema_of
from mimflow.params.read import read_yaml
from mimflow.params.training import Training
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.clock import Clock
from mimflow.train.loop import clock_at, train
from mimflow.train.optim import build_optimiser, parameter_groups
from mimflow.train.outcome import Interrupted
from mimflow.train.parallel import spread
from mimflow.train.processes import Processes
from mimflow.train.record import Record
from mimflow.train.scale import LossScale
from mimflow.train.step import Stepper

ROOT = Path(__file__).parents[2]
ZOO = read_yaml(ROOT / "presets/zoo.yaml")
RUNS = {**ZOO["runs"], **ZOO["taught"]}  # those that build on a tokenizer come last
CLOCK = Clock(3, 10, 0.3, 1.0)
CPU = torch.device("cpu")
TOKENIZERS = Path(tempfile.mkdtemp(prefix="tokenizers-"))  # of drawn weights, one for each name
for needs in {run["needs"] for run in ZOO["taught"].values()}:
    tokenizer_of(64, 32, 4, (TOKENIZERS / needs).parent)
atexit.register(shutil.rmtree, TOKENIZERS)


def run_of(name: str, **compute: Any) -> Training:
    """The zoo's run for six steps; fp32, so that equal sums are equal."""
    values = copy.deepcopy(RUNS[name])
    values["compute"] |= {"threads": 1, "precision": "fp32", **compute}
    values |= {"samples": 6 * values["batch"]}
    if "needs" in values:
        values["needs"] = str(TOKENIZERS / values["needs"])
    parsed = parse(schema_of(values["method"]), values, f"runs.{name}")
    assert isinstance(parsed, Training)
    return parsed


def built(run: Training) -> nn.Module:
    torch.manual_seed(run.seed)
    method: nn.Module = importlib.import_module(f"mimflow.methods.{run.method}").build(run)
    fuse_attention(method, CPU, backward=True)
    return method


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return make_shards(tmp_path_factory.mktemp("data"))


def batches_of(shards: Shards, run: Training) -> Batches:
    views = importlib.import_module(f"mimflow.methods.{run.method}").views(run)
    return Batches(shards, views, run.batch, run.seed, LIMIT, 0, 1)


def rendered(shards: Shards, run: Training, number: int = 0) -> dict[str, Tensor]:
    render = finish(shards.mean, shards.std, CPU)
    first = batches_of(shards, run)[number]
    return render({name: torch.as_tensor(x) for name, x in first.items()})


def lossy(method: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = method(batch, Draw(batch["place"], "step", 0, 3), CLOCK)
    return out


def test_the_zoo_has_every_method() -> None:
    assert {run["method"] for run in RUNS.values()} == {*methods()}


@pytest.mark.parametrize("name", RUNS)
def test_the_loss_comes_first_is_finite_and_all_values_are_scalars(
    shards: Shards, name: str
) -> None:
    run = run_of(name)
    out = lossy(built(run), rendered(shards, run))
    assert next(iter(out)) == "loss" and out["loss"].requires_grad
    assert {"mask_ratio", "target_mean", "target_std"} <= set(out)
    for value in out.values():
        assert value.ndim == 0 and value.isfinite()
    assert not any(x.requires_grad for key, x in out.items() if key != "loss")


@pytest.mark.parametrize("name", RUNS)
def test_every_trained_parameter_has_a_gradient_and_no_other(shards: Shards, name: str) -> None:
    run = run_of(name)
    method = built(run)
    lossy(method, rendered(shards, run))["loss"].backward()
    for key, p in method.named_parameters():
        assert (p.grad is not None) == p.requires_grad, key
        if p.grad is not None:
            assert p.grad.isfinite().all() and p.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", RUNS)
def test_the_same_draw_gives_the_same_bits_and_another_gives_others(
    shards: Shards, name: str
) -> None:
    run = run_of(name)
    method, batch = built(run), rendered(shards, run)
    torch.manual_seed(1)
    one = lossy(method, batch)["loss"]
    torch.manual_seed(2)
    assert torch.equal(lossy(method, batch)["loss"], one)
    other = method(batch, Draw(batch["place"], "step", 0, 4), CLOCK)["loss"]
    assert not torch.equal(other, one)


@pytest.mark.parametrize("name", RUNS)
def test_the_exported_encoder_comes_back_equal(shards: Shards, name: str, tmp_path: Path) -> None:
    run = run_of(name)
    encoder: Any = built(run).encoder.eval()
    save_encoder(tmp_path / "encoder.safetensors", encoder, described(run.encoder))
    again, _ = load_encoder(tmp_path / "encoder.safetensors")
    fuse_attention(again, CPU, backward=True)
    state = again.state_dict()
    assert all(torch.equal(x, state[key]) for key, x in encoder.state_dict().items())
    images = rendered(shards, run, run.steps - 1)["image"]  # of the encoder's own size
    ours, theirs = (e.forward_features(images) for e in (encoder, again))  # type: ignore[operator]
    assert torch.equal(ours, theirs)


def stepped(shards: Shards, run: Training, micro: int) -> tuple[dict[str, Tensor], list[Tensor]]:
    """A step's scalars, and the gradient it took, from micro-batches of `micro`."""
    method = built(run)
    groups = parameter_groups(method.named_parameters(), 0.0, [])
    optimiser = build_optimiser(groups, run.optimiser)
    stepper = Stepper(method, method, optimiser, run, micro, LossScale(False, CPU))
    values = stepper.gradient(rendered(shards, run), clock_at(2, run, len(shards)))
    return values, [p.grad for p in method.parameters() if p.grad is not None]


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("name", RUNS)
def test_micro_batches_give_the_loss_and_gradient_of_the_whole(
    shards: Shards, name: str, parts: int
) -> None:
    run = run_of(name)
    whole, gradient = stepped(shards, run, run.batch)
    cut, again = stepped(shards, run, run.batch // parts)
    for key in ("loss", "mask_ratio"):
        torch.testing.assert_close(cut[key], whole[key], rtol=1e-6, atol=0)
    for ours, theirs in zip(again, gradient, strict=True):
        largest = float(theirs.abs().max())  # sums in another order: rounding of the largest
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * largest)


def trained(
    shards: Shards, run: Training, state: str, method: nn.Module | None = None
) -> tuple[dict[str, Tensor], list[Any]]:
    method = method or built(run)
    render = finish(shards.mean, shards.std, CPU)
    alone = Processes(0, 1, 0)
    record = Record("pretrain", "toy", CPU, alone)
    keep = Checkpoints(Path(state))
    rows = train(method, batches_of(shards, run), render, run, keep, record, alone)
    return method.state_dict(), rows


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_ends_in_the_bits_of_one_that_was_not_stopped(
    shards: Shards, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CI", "1")
    run = run_of(name, precision=RUNS[name]["compute"]["precision"])
    whole, rows = trained(shards, run, "whole")
    monkeypatch.setenv("MIMFLOW_SECONDS", "0")  # a deadline after the first steps
    with pytest.raises(Interrupted):
        trained(shards, run, "parts")
    monkeypatch.delenv("MIMFLOW_SECONDS")
    resumed, again = trained(shards, run, "parts")
    assert whole.keys() == resumed.keys() and again == rows and len(rows) == 6
    assert all(torch.equal(x, resumed[key]) for key, x in whole.items())


@pytest.mark.parametrize("name", RUNS)
def test_activations_made_again_give_the_same_gradient(shards: Shards, name: str) -> None:
    # Tables that change with the size; no known blocks; two passes with drawn paths.
    if name in ("fastmim-p", "fastmim-pvt", "ibot"):
        with pytest.raises(ValueError, match=r"compute.*recompute"):
            spread(built(run_of(name)), run_of(name, recompute=True).compute, CPU)
        return
    run = run_of(name, recompute=True)
    batch = rendered(shards, run)
    plain, again = built(run), built(run)
    for method in (plain, spread(again, run.compute, CPU)):
        lossy(method, batch)["loss"].backward()
    for ours, theirs in zip(again.parameters(), plain.parameters(), strict=True):
        assert ours.grad is None or torch.equal(ours.grad, theirs.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RUNS)
def test_bf16_is_close_to_fp32(shards: Shards, name: str) -> None:
    run = run_of(name)
    method, batch = built(run), rendered(shards, run)
    exact = lossy(method, batch)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        rough = lossy(method, batch)["loss"]
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=2e-2, atol=0)  # 8 bits: 0.4 % a rounding


class Remembered(Draw):
    """A draw whose numbers are there already: keys are hashed on the host, outside a graph."""

    def __init__(self, draw: Draw, numbers: dict[str, Tensor]):
        self.rows, self.draw, self.numbers = draw.rows, draw, numbers
        self.one: Remembered | None = None

    def shared(self) -> Remembered:
        if self.one is None:
            self.one = Remembered(self.draw.shared(), self.numbers)
        return self.one

    def uniform(self, name: str, count: int) -> Any:
        if name not in self.numbers:
            self.numbers[name] = self.draw.uniform(name, count)
        return self.numbers[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_forward_pass_is_one_graph(shards: Shards, name: str) -> None:
    run = run_of(name)
    method, batch = built(run), rendered(shards, run)
    draw = Remembered(Draw(batch["place"], "step", 0, 3), {})
    method(batch, draw, CLOCK)
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its internals
        found = torch._dynamo.explain(method)(batch, draw, CLOCK)
    assert found.graph_break_count == 0, found.break_reasons


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, about its internals
@pytest.mark.parametrize("name", {run["method"]: name for name, run in RUNS.items()}.values())
def test_blocks_compiled_one_by_one_give_the_same_loss_and_pictures(
    shards: Shards, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = nn.Module.compile  # as torch traces it, run as it is: rounding stays
    monkeypatch.setattr(nn.Module, "compile", lambda part: whole(part, backend="eager"))
    plain, run = built(run_of(name)), run_of(name, compile=True)
    method, batch = built(run), rendered(shards, run)
    torch._dynamo.reset()
    spread(method, run.compute, CPU)
    torch.testing.assert_close(lossy(method, batch)["loss"], lossy(plain, batch)["loss"])
    draw = Draw(batch["place"], "x")
    shown, expected = (m.eval().pictures(batch, draw, CLOCK) for m in (method, plain))  # type: ignore[operator]
    for column in expected:
        torch.testing.assert_close(shown[column], expected[column], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", RUNS)
def test_pictures_are_images_of_one_size(shards: Shards, name: str) -> None:
    run = run_of(name)
    batch = rendered(shards, run)
    method = built(run).eval()
    pictures: dict[str, Tensor] = method.pictures(batch, Draw(batch["place"], "x"), CLOCK)  # type: ignore[operator]
    assert next(iter(pictures)) == "input" and len(pictures) >= 2
    for x in pictures.values():
        assert x.shape == batch["image"].shape and x.isfinite().all()
