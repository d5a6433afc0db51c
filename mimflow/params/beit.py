"""The keys of a run of BEiT, and of BEiT v2."""

from __future__ import annotations

from pydantic import Field

from mimflow.params.fields import Count, Section
from mimflow.params.rendering import OnTokenizer


class Branch(Section):
    """BEiT v2's bottleneck: `depth` more blocks on the patches after block `layer` and the last
    class token (published: 2 after 9 of 12, 2 after 21 of 24).
    """

    layer: Count
    depth: int = Field(ge=0)


class BEiTParams(OnTokenizer):
    """`branch`: null for v1."""

    branch: Branch | None

    def model_post_init(self, context: object) -> None:
        super().model_post_init(context)
        if self.branch is not None and self.branch.layer > self.encoder.depth:
            raise ValueError(
                f"branch.layer {self.branch.layer} is more than encoder.depth {self.encoder.depth}"
            )
