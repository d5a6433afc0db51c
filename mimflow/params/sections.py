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
