"""The ImageNet preset says what was published: rates in the authors' unit, crops, counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mimflow.params.check import parse, schema_of
from mimflow.params.read import read_yaml
from mimflow.params.training import Training
from mimflow.train.clock import Clock
from mimflow.train.schedule import learning_rate

PRESET = read_yaml(Path(__file__).parents[2] / "presets/imagenet.yaml")
RUNS, TAUGHT = PRESET["runs"], PRESET["taught"]
IMAGES = 1_281_167
PUBLISHED = {  # epochs, warm-up epochs, batch, peak and last rate, smallest share of a crop's area
    "mae": (800, 40, 4096, 2.4e-3, 0.0, 0.2),
    "mae-large": (800, 40, 4096, 2.4e-3, 0.0, 0.2),
    "simmim-swin-100": (100, 10, 2048, 8e-4, 4e-5, 0.67),
    "simmim-swin": (800, 10, 2048, 4e-4, 4e-5, 0.67),
    "simmim-swin-large": (800, 10, 2048, 4e-4, 4e-5, 0.67),
    "simmim-vit": (800, 10, 2048, 4e-4, 4e-5, 0.67),
    "lomar": (400, 20, 4096, 2.4e-3, 0.0, 0.2),
    "fastmim": (800, 20, 4096, 2.4e-3, 0.0, 0.2),
    "fastmim-swin": (400, 10, 2048, 1.2e-3, 0.0, 0.2),
    "fastmim-p": (800, 20, 4096, 2.4e-3, 0.0, 0.2),
    "fastmim-p-swin": (400, 10, 2048, 1.2e-3, 0.0, 0.2),
    "ibot": (800, 10, 1024, 2e-3, 1e-6, 0.25),
    "ibot-base": (400, 10, 1024, 3e-3, 1e-6, 0.32),
    "attmask-hint": (100, 10, 240, 4.6875e-4, 1e-6, 0.25),
    "attmask-high": (100, 10, 240, 4.6875e-4, 1e-6, 0.25),
    "attmask-high-300": (300, 10, 800, 1.5625e-3, 1e-6, 0.32),
    "beit": (800, 10, 2048, 1.5e-3, 1e-5, 0.08),
    "beit2": (300, 10, 2048, 1.5e-3, 1e-5, 0.2),
    "peco": (800, 10, 2048, 1.5e-3, 1e-5, 0.08),
    "mcbeit": (800, 10, 2048, 1.5e-3, 1e-5, 0.08),
}
DISTILLED = [name for name in PUBLISHED if RUNS.get(name, {}).get("distil")]
REBUILT = [name for name in RUNS if RUNS[name]["method"] in ("mae", "simmim", "lomar", "fastmim")]


def run_of(name: str) -> Any:
    values = {**RUNS, **TAUGHT}[name]
    run = parse(schema_of(values["method"]), values, f"runs.{name}")
    assert isinstance(run, Training)
    return run


def rate(name: str, epoch: float) -> float:
    run = run_of(name)
    epochs = run.samples / IMAGES
    step = round(run.steps * epoch / epochs)
    clock = Clock(step, run.steps, epoch, epochs)
    return learning_rate(run.schedule, run.optimiser.peak(run.batch), clock)


def test_every_run_is_looked_at() -> None:
    assert set(PUBLISHED) == {*RUNS, *TAUGHT}


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_length_batch_rates_and_crops_are_the_published_ones(
    name: str, published: tuple[float, ...]
) -> None:
    run, (epochs, warmup, batch, peak, last, area) = run_of(name), published
    assert run.samples == epochs * IMAGES and run.batch == batch
    assert run.optimiser.peak(batch) == pytest.approx(peak)
    assert run.schedule.warmup * epochs == pytest.approx(warmup, rel=1e-3)
    # at half the warm-up half of the way there, whatever the schedule's shape
    assert rate(name, warmup / 2) == pytest.approx((run.schedule.start_lr + peak) / 2, rel=2e-2)
    assert rate(name, epochs - 1e-2) == pytest.approx(last, abs=1e-8)
    assert (run.augment.kind, run.augment.amount, run.augment.flip) == ("crop", area, True)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.startswith("fastmim")])
def test_fastmim_has_the_published_sizes(name: str) -> None:
    run, swin = run_of(name), name.endswith("swin")
    assert (run.mask_ratio, run.block) == (0.75, 32 if swin else 16)
    assert (run.target.bins, run.target.cell, run.target.window) == (9, 8, None)
    assert run.target.normalise and run.sizes[0].img_size == 128
    assert (run.decoder.width, run.decoder.depth) == (256, 4 if swin else 1)


def test_images_are_standardised_as_published() -> None:
    moments = PRESET["data"]["moments"]
    assert moments == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize("name", DISTILLED)
def test_self_distillation_has_the_published_decay_crops_and_head(name: str) -> None:
    run = RUNS[name]
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


def test_decay_clipping_and_momenta_are_each_authors_own() -> None:
    assert len(REBUILT) + len(DISTILLED) == len(RUNS)
    for name in REBUILT:
        run = run_of(name)
        simmim = run.method == "simmim"
        assert run.optimiser.weight_decay == 0.05
        assert run.optimiser.clip_norm == (5.0 if simmim else None)
        assert RUNS[name]["optimiser"]["betas"] == ([0.9, 0.999] if simmim else [0.9, 0.95])


def test_runs_on_a_tokenizer_are_the_published_ones() -> None:
    for name, values in TAUGHT.items():
        run = parse(schema_of(values["method"]), values, f"taught.{name}")
        assert run.optimiser.lr_batch is None  # no scaling rule
        assert run.optimiser.clip_norm == 3.0 and run.optimiser.weight_decay == 0.05
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
