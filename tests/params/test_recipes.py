"""The ImageNet preset says what was published: rates in the authors' unit, crops, counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimflow.params.check import parse, schema_of
from mimflow.params.read import read_yaml
from mimflow.params.training import Training
from mimflow.train.clock import Clock
from mimflow.train.schedule import learning_rate

PRESET = read_yaml(Path(__file__).parents[2] / "presets/imagenet.yaml")
RUNS, TAUGHT = PRESET["runs"], PRESET["taught"]
IMAGES = 1_281_167
PEAKS = {  # base rate x batch / 256 for MAE and LoMaR, / 512 for SimMIM
    "mae": 2.4e-3,
    "mae-large": 2.4e-3,
    "simmim-swin-100": 8e-4,
    "simmim-swin": 4e-4,
    "simmim-swin-large": 4e-4,
    "simmim-vit": 4e-4,
    "lomar": 2.4e-3,
}
DISTILLED = {  # peak rate, epochs, warm-up epochs: base rate x batch / 256
    "ibot": (2e-3, 800, 10),
    "ibot-base": (3e-3, 400, 10),
    "attmask-hint": (5e-4 * 240 / 256, 100, 10),
    "attmask-high": (5e-4 * 240 / 256, 100, 10),
    "attmask-high-300": (5e-4 * 800 / 256, 300, 10),
}


def run_of(name: str) -> Training:
    run = parse(schema_of(RUNS[name]["method"]), RUNS[name], f"runs.{name}")
    assert isinstance(run, Training)
    return run


def rate(name: str, epoch: float) -> float:
    run = run_of(name)
    epochs = run.samples / IMAGES
    step = round(run.steps * epoch / epochs)
    clock = Clock(step, run.steps, epoch, epochs)
    return learning_rate(run.schedule, run.optimiser.peak(run.batch), clock)


@pytest.mark.parametrize(("name", "peak"), PEAKS.items())
def test_the_peak_rate_is_the_published_one(name: str, peak: float) -> None:
    run = run_of(name)
    assert run.optimiser.peak(run.batch) == pytest.approx(peak)
    assert run.optimiser.weight_decay == 0.05 and run.samples % IMAGES == 0


def test_every_run_is_looked_at() -> None:
    assert set(RUNS) >= {*PEAKS, *DISTILLED}


@pytest.mark.parametrize(("name", "published"), DISTILLED.items())
def test_self_distillation_has_the_published_schedule_and_crops(
    name: str, published: tuple[float, int, int]
) -> None:
    run, (peak, epochs, warmup) = RUNS[name], published
    parsed = run_of(name)
    assert parsed.optimiser.peak(parsed.batch) == pytest.approx(peak)
    assert parsed.samples == epochs * IMAGES
    assert run["schedule"]["warmup"] * epochs == pytest.approx(warmup)
    assert rate(name, warmup + 1) == pytest.approx(peak, rel=0.02)
    assert rate(name, epochs - 1e-3) == pytest.approx(1e-6, abs=2e-6)
    assert (run["optimiser"]["weight_decay"], run["schedule"]["final_decay"]) == (0.04, 0.4)
    assert (run["crops"]["count"], run["crops"]["size"], run["head"]["codes"]) == (10, 96, 8192)
    assert run["augment"]["amount"] == run["crops"]["area"][1]
    assert run["distil"]["momentum"] == 0.996 and run["drop_path"] == 0.1


@pytest.mark.parametrize(
    ("name", "epoch", "expected"),
    [
        ("mae", 0, 0.0),
        ("mae", 40, 2.4e-3),
        ("lomar", 20, 2.4e-3),
        ("simmim-swin-100", 0, 4e-6),
        ("simmim-swin-100", 100, 4e-5),
        ("simmim-swin", 0, 2e-6),
        ("simmim-swin", 10.1, 4e-4),
        ("simmim-vit", 699, 4e-4),
        ("simmim-vit", 701, 4e-5),
    ],
)
def test_the_rate_at_an_epoch_is_the_published_one(
    name: str, epoch: float, expected: float
) -> None:
    assert rate(name, epoch) == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_crops_clipping_and_momenta_are_each_authors_own() -> None:
    for name in PEAKS:
        run = run_of(name)
        simmim = run.method == "simmim"
        assert run.augment.amount == (0.67 if simmim else 0.2)
        assert run.optimiser.clip_norm == (5.0 if simmim else None)
        assert RUNS[name]["optimiser"]["betas"] == ([0.9, 0.999] if simmim else [0.9, 0.95])
        assert run.batch == (2048 if simmim else 4096)


def test_runs_on_a_tokenizer_are_the_published_ones() -> None:
    for name, values in TAUGHT.items():
        run = parse(schema_of(values["method"]), values, f"taught.{name}")
        epochs = run.samples / IMAGES
        assert run.optimiser.peak(run.batch) == 1.5e-3 and run.batch == 2048  # no scaling rule
        assert run.optimiser.clip_norm == 3.0 and run.optimiser.weight_decay == 0.05
        assert run.schedule.warmup * epochs == pytest.approx(10, rel=1e-3)
        assert run.schedule.final_lr == 1e-5
        v2 = name in ("beit2", "mcbeit")
        assert run.optimiser.betas == ([0.9, 0.98] if v2 else [0.9, 0.999])
        assert run.encoder.layer_scale == 0.1 and run.encoder.bias == "shared"
        assert run.jitter == (0.0 if name == "mcbeit" else 0.4)
        assert run.mask.hidden == (147 if name == "mcbeit" else 75)
    assert TAUGHT["beit"]["tokens"] == {"size": 112, "filter": "lanczos"}
    assert TAUGHT["beit2"]["tokens"] == {"size": 224, "filter": "bicubic"}
    assert TAUGHT["beit2"]["branch"] == {"layer": 9, "depth": 2}
    assert TAUGHT["beit2"]["mask"]["exactly"] and not TAUGHT["beit"]["mask"]["exactly"]
    assert (TAUGHT["mcbeit"]["mix"], TAUGHT["mcbeit"]["affinity"]) == (0.2, 1.0)
    assert TAUGHT["mcbeit"]["temperature"]["end"] == 4.0 and not TAUGHT["mcbeit"]["detach"]
