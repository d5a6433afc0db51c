"""The sections of params.yaml beside the runs and the tasks: data, controls, imported encoders,
features."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import (
    Count,
    Encoder,
    NonNegative,
    Positive,
    Ratio,
    Section,
    Seed,
    Threads,
)

Number = bool | int | float | str | None
Colours = Annotated[list[NonNegative], Field(min_length=3, max_length=3)]
Scales = Annotated[list[Positive], Field(min_length=3, max_length=3)]


class Data(Section):
    """`source`: a folder of images, a .zip or .tar of one, CIFAR's binary files, or a drawing
    (.yaml).

    `test_fraction`: held out by a hash of the name, where the source has no split of its own.
    """

    source: str
    num_shards: Annotated[int, Field(ge=1, le=100_000)]
    test_fraction: Ratio
    max_bad_fraction: Ratio
    max_pixels: Count
    threads: Threads


class Timm(Section):
    """`timm.create_model(name, **kwargs)`; the head is always left out."""

    name: str
    kwargs: dict[str, Number]


class Imported(Section):
    """An encoder given as a file: `weights` is safetensors or a torch checkpoint; `mean` and `std`
    standardise its pictures, scaled to [0, 1].
    """

    timm: Timm
    weights: str
    mean: Colours
    std: Scales


class RandomControl(Section):
    """The same encoder with random weights, drawn `draws` times."""

    kind: Literal["random"]
    seed: Seed
    draws: Count
    encoder: Encoder


class TimmControl(Section):
    """What an imported encoder is read against: the same timm model with timm's own random weights,
    drawn `draws` times.
    """

    kind: Literal["timm"]
    seed: Seed
    draws: Count
    timm: Timm


class PixelControl(Section):
    """No encoder: the pixels of the image, scaled to `img_size`."""

    kind: Literal["pixels"]
    img_size: Count


class Features(Section):
    """How features are taken: of `train_images` training images and of all held-out ones."""

    train_images: Count
    threads: Threads
    precision: Literal["bf16", "fp32"]
    batch: Count
