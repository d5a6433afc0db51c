"""The keys of stored targets: what a teacher makes of a finite set of crops."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import Augment, Count, Section, Seed, Side, Threads
from mimflow.params.needs import TeacherFile


class Targets(Section):
    """`needs`: teachers/NAME/weights.safetensors. `crops`: how many different crops of an image
    there are; epoch e of a run sees crop e mod `crops`. `seed`, `img_size` and `augment` are those
    of the runs that read the targets, `encoder.img_size` of them.

    `norm`: after the teacher's final norm. `storage`: of each number on the disk; `num_shards`:
    files of a crop. `batch`, `precision`: how features are computed.
    """

    needs: TeacherFile
    crops: Count
    seed: Seed
    img_size: Side
    augment: Augment
    norm: bool
    storage: Literal["fp16", "fp32"]
    num_shards: Annotated[int, Field(ge=1, le=10_000)]
    batch: Count
    precision: Literal["bf16", "fp32"]
    threads: Threads

    def model_post_init(self, context: object) -> None:
        if self.augment.kind == "shift" and self.augment.amount >= self.img_size:
            raise ValueError(f"augment.amount {self.augment.amount} shifts the whole image away")
