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

Kind = Literal[
    "auto",
    "cifar",
    "parquet",
    "coco",
    "masks",
    "webdataset",
    "points",
    "imagefolder",
    "folder",
    "list",
    "scenes",
]
Number = bool | int | float | str | None
Colours = Annotated[list[NonNegative], Field(min_length=3, max_length=3)]
Scales = Annotated[list[Positive], Field(min_length=3, max_length=3)]


class Moments(Section):
    """Mean and standard deviation of red, green and blue, in [0, 1]."""

    mean: Colours
    std: Scales


class Data(Section):
    """`source`: a path or URL (docs/data.md has every kind). `kind`: what it is taken for, or auto.

    `files`: a pattern of names below the source (train-{000..012}.tar), null: all of them.
    `test_fraction`: held out by a hash of the name, where the source has no split of its own.
    `short_side`: larger pictures are scaled to it and encoded again, JPEG and WebP as JPEG of
    `quality`, others as PNG; null: original bytes. `moments`: that standardise what a network
    sees, null: those of the training images. `num_points`, `normals`: what a cloud holds.
    `ignore_value`: of masks, null: what the source says, or 255.
    """

    source: str
    kind: Kind
    files: str | None
    num_shards: Annotated[int, Field(ge=1, le=100_000)]
    test_fraction: Ratio
    max_bad_fraction: Ratio
    max_pixels: Count
    max_bytes: Annotated[int, Field(ge=1, le=1 << 30)]
    channels: Literal[1, 3]
    bit_depth: Literal[8, 16]
    short_side: Annotated[int, Field(ge=8)] | None
    quality: Annotated[int, Field(ge=1, le=100)]
    moments: Moments | None
    num_points: Count
    normals: bool
    ignore_value: Annotated[int, Field(ge=0, le=255)] | None
    threads: Threads

    def model_post_init(self, context: object) -> None:
        if self.bit_depth == 16 and (self.channels == 3 or self.short_side is not None):
            raise ValueError(
                "bit_depth 16 is kept for channels 1 and short_side null; 8 scales 16 bits down"
            )
        if self.channels == 1 and self.moments is not None:
            raise ValueError("moments are of three colours; allowed with channels 1: null")


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
