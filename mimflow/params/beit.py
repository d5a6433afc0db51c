"""The keys of a run of BEiT, and of BEiT v2."""

from __future__ import annotations

from pydantic import Field

from mimflow.params.fields import BeitViT, Count, Ratio, Section
from mimflow.params.needs import TokenizerFile
from mimflow.params.rendering import Mask, Rendering
from mimflow.params.training import Training


class Branch(Section):
    """BEiT v2's bottleneck: `depth` more blocks on the patches after block `layer` and the last
    class token (published: 2 after 9 of 12, 2 after 21 of 24).
    """

    layer: Count
    depth: int = Field(ge=0)


class BEiTParams(Training):
    """`needs`: the tokenizer, tokenizers/NAME/weights.safetensors. `tokens`: how it sees the crop.
    `jitter`: of colours (published: 0.4; v2: 0.4). `branch`: null for v1.
    """

    encoder: BeitViT
    needs: TokenizerFile
    tokens: Rendering
    jitter: Ratio
    mask: Mask
    branch: Branch | None

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        patches = (self.encoder.img_size // self.encoder.patch_size) ** 2
        if self.mask.hidden > patches:
            raise ValueError(f"mask.hidden {self.mask.hidden} is more than {patches} patches")
        if self.branch is not None and self.branch.layer > self.encoder.depth:
            raise ValueError(
                f"branch.layer {self.branch.layer} is more than encoder.depth {self.encoder.depth}"
            )
