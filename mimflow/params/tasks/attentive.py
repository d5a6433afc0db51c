"""The protocol of `attentive`: a learned query attends over the frozen patch tokens, a linear layer
classifies (CAE, arXiv 2202.03026, attentive probing)."""

from __future__ import annotations

from mimflow.params.fields import Count, NonNegative, Positive, Section, Seed, Threads


class Attentive(Section):
    """AdamW with lr = base_lr * batch / 256; `warmup` in epochs, then half a cosine down to 0."""

    num_heads: Count
    base_lr: Positive
    batch: Count
    epochs: Count
    warmup: NonNegative
    weight_decay: NonNegative
    seed: Seed
    threads: Threads

    def model_post_init(self, context: object) -> None:
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup {self.warmup} is not below epochs {self.epochs}")
