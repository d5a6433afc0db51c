"""The entries of the section `tokenizers`: one kind each, trained here or imported."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import (
    Augment,
    Codes,
    Count,
    Fraction,
    NonNegative,
    Positive,
    Ratio,
    Section,
    Side,
    Threads,
)
from mimflow.params.needs import Images, RunFile, TeacherFile
from mimflow.params.training import Budget


class Anneal(Section):
    """From `start` to `end` along half a cosine over the share `over` of the budget."""

    start: NonNegative
    end: NonNegative
    over: Annotated[float, Field(gt=0, le=1)]


class Convs(Section):
    """Encoder and decoder: channels of each halving, residual blocks of each."""

    widths: Annotated[list[Count], Field(min_length=1)]
    blocks: Annotated[int, Field(ge=0)]


class Start(Section):
    """How logits begin (`mimflow/tokenizers/gumbel.py`): by `rounds` of k-means over what an
    untrained encoder makes of `images`, times `sharpness`.
    """

    images: Count
    rounds: Count
    sharpness: Positive


class Codebook(Section):
    """K vectors of length 1 (`mimflow/tokenizers/quantizer.py`).

    `decay`: of their moving average, null: trained by gradient. `commitment`: weight of the term
    that keeps vectors near their codes. `start_images`, `rounds`: k-means before the first step.
    `revive`: codes without a vector for so many steps begin again, null: never.
    """

    codes: Codes
    dim: Count
    decay: Ratio | None
    commitment: NonNegative
    start_images: Count
    rounds: Count
    revive: Count | None


class Trained(Budget):
    """What every tokenizer that is trained here states.

    `needs`: the file it builds on: another encoder, or data/index.json where images are enough.
    `least_perplexity`: of the codes, as a share of K,
    below which the training stops once the share `grace` of the budget is done. `held_images`: how
    many held-out images the card is about.
    """

    kind: str
    needs: str
    img_size: Side
    patch_size: Count
    augment: Augment
    order_window: Annotated[int, Field(ge=16)] | None
    least_perplexity: Ratio
    grace: Fraction
    held_images: Count

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        if self.img_size % self.patch_size:
            raise ValueError(
                f"img_size {self.img_size} is not a multiple of patch_size {self.patch_size}"
            )
        if hasattr(self, "codebook") and self.compute.parallel == "fsdp":  # codes move as a whole
            raise ValueError(f"compute.parallel 'fsdp' is not for kind {self.kind}; allowed: ddp")
        convs = getattr(self, "convs", None)
        if convs is not None and 2 ** len(convs.widths) != self.patch_size:
            raise ValueError(
                f"convs.widths {convs.widths}: {len(convs.widths)} halvings make a patch of"
                f" {2 ** len(convs.widths)} pixels, not of patch_size {self.patch_size}"
            )


class Gumbel(Trained):
    """`codes`: K; `dim`: width of a code in the decoder. `start`: null begins with drawn logits
    (published), which at small budgets leaves few codes in use. `temperature` of the
    Gumbel-softmax, `kl` weight of the divergence from equally frequent codes, in nats a token.
    `straight`: the decoder sees the one code that was drawn, not the soft mixture.
    """

    needs: Images
    codes: Codes
    dim: Count
    convs: Convs
    start: Start | None
    temperature: Anneal
    kl: Anneal
    straight: bool

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        if not self.temperature.start or not self.temperature.end:
            raise ValueError("temperature: start and end must be above 0")


class DVAE(Gumbel):
    """`likelihood`: laplace, of pixels mapped to 0.8 x + 0.1 (DALL-E), or squared, of pixels in
    [-1, 1].
    """

    kind: Literal["dvae"]
    likelihood: Literal["laplace", "squared"]


class VQKD(Trained):
    """`needs`: the teacher. Encoder of `width`, `depth`, `heads` (published: a ViT-B); `decoder`
    blocks of the same width rebuild the teacher's patch tokens (published: 3, or 1).
    """

    kind: Literal["vqkd"]
    needs: RunFile | TeacherFile
    width: Count
    depth: Count
    heads: Count
    decoder: Count
    codebook: Codebook

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")


class Adversary(Section):
    """A patch discriminator (`mimflow/tokenizers/adversary.py`): `width` of its first layer,
    `depth` halvings, `weight` of its term, from the share `start` of the budget on.
    """

    width: Count
    depth: Count
    weight: Positive
    start: Ratio


class Perceptual(Trained):
    """`needs`: the network that looks; `layers` of its blocks (PeCo: a quarter, half, three
    quarters and all of the depth); `weight` of the distance, 0: the pixel-only control.
    `sight`: the network's precision. `distance`: of pixels. `adversary`: null without.
    """

    kind: Literal["perceptual"]
    needs: RunFile | TeacherFile
    convs: Convs
    codebook: Codebook
    layers: Annotated[list[Count], Field(min_length=1)]
    weight: NonNegative
    sight: Literal["fp32", "bf16"]
    distance: Literal["squared", "absolute"]
    adversary: Adversary | None


class VQGAN(Gumbel):
    """Gumbel codes with logits, pixels in [-1, 1], and an adversary."""

    kind: Literal["vqgan"]
    distance: Literal["squared", "absolute"]
    adversary: Adversary


class Imported(Section):
    """Public weights from a local file, `needs`: a torch checkpoint of tensors alone, or
    safetensors. dalle: the encoder of DALL-E's dVAE; beit2: VQ-KD's encoder and codebook.
    """

    kind: Literal["dalle", "beit2"]
    needs: str
    img_size: Side
    held_images: Count
    threads: Threads


TOKENIZERS: dict[str, type[Section]] = {
    "dvae": DVAE,
    "vqkd": VQKD,
    "perceptual": Perceptual,
    "vqgan": VQGAN,
    "dalle": Imported,
    "beit2": Imported,
}
