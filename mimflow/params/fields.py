"""The fields that the sections of params.yaml share: no defaults, nothing unknown, nothing
converted.

Torch-free: these are read whenever the workflow is parsed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Ratio = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Precision = Literal["bf16", "fp16", "fp32"]


class Section(BaseModel):
    """A part of params.yaml: every key is needed, an unknown one is an error, nothing changes
    later.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Encoder(Section):
    """A timm ViT: `timm.create_model(name, img_size=..., patch_size=..., ...)`."""

    name: str
    img_size: Annotated[int, Field(ge=8)]
    patch_size: Count
    embed_dim: Count
    depth: Count
    num_heads: Count

    def model_post_init(self, context: object) -> None:
        if self.img_size % self.patch_size:
            raise ValueError(
                f"img_size {self.img_size} is not a multiple of patch_size {self.patch_size}"
            )
        if self.embed_dim % self.num_heads or self.embed_dim % 4:
            raise ValueError(
                f"embed_dim {self.embed_dim} must be a multiple of"
                f" num_heads {self.num_heads} and of 4"
            )

    def timm(self) -> dict[str, int | str]:
        """The keyword arguments of `timm.create_model` beside the name; no head."""
        values = self.model_dump(exclude={"name"})
        return {**values, "num_classes": 0, "global_pool": "token"}


class Decoder(Section):
    """The filling decoder: `depth` blocks of width `width`."""

    width: Count
    depth: Count
    num_heads: Count

    def model_post_init(self, context: object) -> None:
        if self.width % self.num_heads or self.width % 4:
            raise ValueError(
                f"width {self.width} must be a multiple of num_heads {self.num_heads} and of 4"
            )


class Augment(Section):
    """How a view is cut. shift: reflected shift by up to `amount` pixels; crop: a random area of at
    least `amount` of the image, resized (Inception's crop, arXiv 1409.4842)."""

    kind: Literal["shift", "crop"]
    amount: Positive
    flip: bool

    def model_post_init(self, context: object) -> None:
        if self.kind == "crop" and self.amount > 1:
            raise ValueError(f"amount {self.amount} of a crop is a share of the area: 0 to 1")
        if self.kind == "shift" and self.amount != int(self.amount):
            raise ValueError(f"amount {self.amount} of a shift is in whole pixels")
