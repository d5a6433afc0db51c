"""What every run states, whatever its method: budget, device use, optimiser, schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import (
    Augment,
    Count,
    Encoder,
    Fraction,
    NonNegative,
    Positive,
    Precision,
    Ratio,
    Section,
    Seed,
    Threads,
)


class Compute(Section):
    """How the steps are computed. It changes rounding, so it is stated; the number of processes is
    a fact of the machine and is not.

    `micro_batch`: images on a device at a time, at most; more are accumulated. `parallel`: how
    several processes share the work. `recompute`: activations are made again in the backward pass
    (arXiv 1604.06174), for memory. `compile`: the encoder's blocks by torch.compile. `tf32`: fp32
    products on the tensor cores' 10 bits. `deterministic`: only kernels that give equal bits.
    """

    threads: Threads
    precision: Precision
    micro_batch: Count
    parallel: Literal["ddp", "fsdp"]
    recompute: bool
    compile: bool
    tf32: bool
    deterministic: bool


class _Optimiser(Section):
    """lr = base_lr * batch / lr_batch, or base_lr itself where `lr_batch` is null.

    `undecayed`: parts of parameter names without weight decay; `vectors` stands for biases, norms
    and all else of one dimension. `clip_norm` bounds the norm of all gradients together,
    `clip_each` that of each tensor.
    """

    base_lr: Positive
    lr_batch: Count | None
    weight_decay: NonNegative
    undecayed: list[str]
    clip_norm: Positive | None
    clip_each: Positive | None

    def peak(self, batch: int) -> float:
        """The learning rate of a global batch (linear rule, arXiv 1706.02677)."""
        return self.base_lr if self.lr_batch is None else self.base_lr * batch / self.lr_batch


class AdamW(_Optimiser):
    """arXiv 1711.05101."""

    kind: Literal["adamw"]
    betas: Annotated[list[Ratio], Field(min_length=2, max_length=2)]
    eps: Positive


class SGD(_Optimiser):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    momentum: Ratio
    nesterov: bool


class LARS(_Optimiser):
    """Layer-wise rates: lr * trust * |w| / |g| for each matrix (arXiv 1708.03888)."""

    kind: Literal["lars"]
    momentum: Ratio
    trust: Positive


Optimiser = Annotated[AdamW | SGD | LARS, Field(discriminator="kind")]


class Schedule(Section):
    """How the learning rate and the weight decay move; `mimflow/train/schedule.py` has the shapes.

    `warmup`: share of the budget, from `start_lr` up. `final_lr`: where a cosine ends.
    `milestones`: shares of the budget where the shape `steps` multiplies by `gamma`. `final_decay`:
    where a cosine takes the weight decay, null to keep it.
    """

    shape: Literal["cosine", "cosine_whole", "cosine_steps", "steps"]
    warmup: Ratio
    start_lr: NonNegative
    final_lr: NonNegative
    milestones: list[Fraction]
    gamma: Positive
    final_decay: NonNegative | None

    def model_post_init(self, context: object) -> None:
        if (self.shape == "steps") != bool(self.milestones):
            raise ValueError(f"milestones {self.milestones} do not go with shape {self.shape!r}")
        if sorted(self.milestones) != self.milestones:
            raise ValueError(f"milestones {self.milestones} are not ascending")


class Budget(Section):
    """What the loop asks of a training, pre-training or not.

    `samples`: images seen, the budget. `batch`: images of one optimiser step, over all devices and
    accumulated micro-batches. `skip_non_finite`: how many steps whose loss or gradient is not
    finite are left out before the training stops; 0 stops at the first.
    """

    seed: Seed
    samples: Count
    batch: Count
    compute: Compute
    optimiser: Optimiser
    schedule: Schedule
    skip_non_finite: Annotated[int, Field(ge=0)]

    @property
    def steps(self) -> int:
        """Optimiser steps: the budget over the batch, rounded down."""
        return self.samples // self.batch

    def model_post_init(self, context: object) -> None:
        if self.samples < self.batch:
            raise ValueError(f"samples {self.samples} is less than one batch of {self.batch}")
        if self.batch % min(self.compute.micro_batch, self.batch):
            raise ValueError(
                f"batch {self.batch} is not a multiple of"
                f" compute.micro_batch {self.compute.micro_batch}"
            )


class Training(Budget):
    """What every run states, whatever its method.

    `order_window`: how many images are mixed with each other, for shards on a spinning disk or a
    network file system (`mimflow/data/order.py`); null mixes all.
    """

    method: str
    encoder: Encoder
    augment: Augment
    order_window: Annotated[int, Field(ge=16)] | None

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        if self.augment.kind == "shift" and self.augment.amount >= self.encoder.img_size:
            raise ValueError(f"augment.amount {self.augment.amount} shifts the whole image away")
