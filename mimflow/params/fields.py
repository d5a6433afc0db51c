"""The fields that the sections of params.yaml share: no defaults, nothing unknown, nothing
converted.

Torch-free: these are read whenever the workflow is parsed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Count = Annotated[int, Field(ge=1)]
Codes = Annotated[int, Field(ge=2)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Ratio = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Side = Annotated[int, Field(ge=8)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Precision = Literal["bf16", "fp16", "fp32"]


class Section(BaseModel):
    """A part of params.yaml: every key is needed, an unknown one is an error, nothing changes
    later.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _ViT(Section):
    """A timm ViT of square pictures and patches: `timm.create_model(name, img_size=..., ...)`."""

    name: str
    img_size: Side
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

    def timm(self) -> dict[str, JsonValue]:
        """The keyword arguments of `timm.create_model` beside the name; no head."""
        sizes = ("img_size", "patch_size", "embed_dim", "depth", "num_heads")
        values = self.model_dump(include={*sizes})
        return {**values, "num_classes": 0, "global_pool": "token"}


class PlainViT(_ViT):
    """The plain ViT with a class token and fixed sine-cosine positions."""

    kind: Literal["vit"]


class LearnedViT(_ViT):
    """The plain ViT with a class token and learned positions, iBOT's first weights."""

    kind: Literal["learned"]


class RelativeViT(_ViT):
    """The plain ViT without positions, its attention with LoMaR's contextual relative ones."""

    kind: Literal["relative"]


class BeitViT(_ViT):
    """timm's BEiT. `bias`: one table of relative positions for all blocks, or one each;
    `absolute`: a learned position table as well; `layer_scale`: its first value, null without;
    `drop_path`: how often the last block's branches are left out in training, the first's never.
    """

    kind: Literal["beit"]
    bias: Literal["shared", "block"]
    absolute: bool
    layer_scale: Positive | None
    drop_path: Ratio

    def timm(self) -> dict[str, JsonValue]:
        """As of a ViT; dropped branches are no part of the model (they have no weights)."""
        return {
            **super().timm(),
            "use_shared_rel_pos_bias": self.bias == "shared",
            "use_rel_pos_bias": self.bias == "block",
            "use_abs_pos_emb": self.absolute,
            "init_values": self.layer_scale or 0.0,  # timm takes null for its own default
        }


class GridNet(Section):
    """Any timm model that keeps a grid (Swin, PVT v2): `kwargs` goes to `timm.create_model` as it
    is, with `img_size` where the model's input has a fixed size.
    """

    kind: Literal["grid"]
    name: str
    img_size: Side
    kwargs: dict[str, JsonValue]

    def model_post_init(self, context: object) -> None:
        for key in sorted({"img_size", "num_classes"} & {*self.kwargs}):
            raise ValueError(f"kwargs.{key} is set by the encoder itself")

    def timm(self) -> dict[str, JsonValue]:
        """The keyword arguments of `timm.create_model` beside the name; no head."""
        return {**self.kwargs, "img_size": self.img_size, "num_classes": 0}


Encoder = Annotated[
    PlainViT | LearnedViT | BeitViT | GridNet | RelativeViT, Field(discriminator="kind")
]


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


class Hog(Section):
    """Histograms of oriented gradients as target (`mimflow/targets/hog.py`).

    `bins`: directions of a half turn (published: 9). `cell`: its side in pixels (published: 8).
    `window`: side of a Gaussian window over the pixels, null for none (FastMIM: null; MaskFeat:
    16). `normalise`: each histogram to length 1.
    """

    kind: Literal["hog"]
    bins: Annotated[int, Field(ge=2)]
    cell: Count
    window: Annotated[int, Field(ge=2)] | None
    normalise: bool


class Pixels(Section):
    """The pixels of a patch as target; `norm_pixels`: standardised, as in MAE."""

    kind: Literal["pixels"]
    norm_pixels: bool


Target = Annotated[Hog | Pixels, Field(discriminator="kind")]


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
