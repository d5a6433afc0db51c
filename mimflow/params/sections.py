"""The sections of params.yaml beside the runs: data, controls, features and the evaluations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import (
    Count,
    Encoder,
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


class Data(Section):
    """`source`: a path or URL (docs/data.md has every kind). `kind`: what it is taken for, or auto.

    `files`: a pattern of names below the source (train-{000..012}.tar), null: all of them.
    `test_fraction`: held out by a hash of the name, where the source has no split of its own.
    `short_side`: larger pictures are scaled to it and encoded again, JPEG and WebP as JPEG of
    `quality`, others as PNG; null: original bytes. `num_points`, `normals`: what a cloud holds.
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
    num_points: Count
    normals: bool
    ignore_value: Annotated[int, Field(ge=0, le=255)] | None
    threads: Threads

    def model_post_init(self, context: object) -> None:
        if self.bit_depth == 16 and (self.channels == 3 or self.short_side is not None):
            raise ValueError(
                "bit_depth 16 is kept for channels 1 and short_side null; 8 scales 16 bits down"
            )


class RandomControl(Section):
    """The same encoder with random weights, drawn `draws` times."""

    kind: Literal["random"]
    seed: Seed
    draws: Count
    encoder: Encoder


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


class Knn(Section):
    """Weighted k-nearest neighbours on cosine similarity (Wu et al., arXiv 1805.01978, 3.4)."""

    k: Count
    temperature: Positive
    standardise: bool
    threads: Threads


class Linear(Section):
    """Logistic regression on frozen, standardised features."""

    c: Positive
    max_iter: Count
    threads: Threads


class Evaluate(Section):
    """Which runs and controls each task evaluates."""

    knn: Annotated[list[str], Field(min_length=1)]
    linear: Annotated[list[str], Field(min_length=1)]
