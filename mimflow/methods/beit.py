"""BEiT: hide patches, and classify each of them into the visual word that a frozen tokenizer reads
there.

Bao et al., "BEiT: BERT Pre-Training of Image Transformers", arXiv 2106.08254. With a VQ-KD
tokenizer and the branch through the class token it is BEiT v2, arXiv 2208.06366; with a perceptual
tokenizer it is PeCo, arXiv 2111.12710. M is here the most that may be hidden of an image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from timm.models.beit import Beit
from torch import Tensor, nn

from mimflow.backbones.beit import add_drop_paths, build_beit, draw_paths, narrow
from mimflow.backbones.bottleneck import Bottleneck, hidden_states
from mimflow.data.augment import Images, Views
from mimflow.data.twice import two_renderings, unit
from mimflow.draw import Draw
from mimflow.masks.loader import patch_masks
from mimflow.params.beit import BEiTParams
from mimflow.params.rendering import OnTokenizer
from mimflow.tokenizers.colours import word_pictures
from mimflow.tokenizers.frozen import Frozen, load_tokenizer
from mimflow.tokens import take
from mimflow.train.clock import Clock


class BEiT(nn.Module):
    """`most`: M; `size`: side of the tokenizer's pictures; `branch`: None for v1."""

    def __init__(
        self, encoder: Beit, tokenizer: Frozen, most: int, size: int, branch: Bottleneck | None
    ):
        super().__init__()
        self.encoder, self.tokenizer, self.branch = encoder, tokenizer, branch
        self.most, self.size = most, size
        self.mask_token = nn.Parameter(torch.zeros(1, 1, encoder.embed_dim))
        self.head = nn.Linear(encoder.embed_dim, tokenizer.num_codes)
        narrow(self.mask_token)
        narrow(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def latents(self, images: Tensor, mask: Tensor) -> list[Tensor]:
        """Latents (B, 1 + N, D) of images (B, C, H, W) whose patches `mask` bool (B, N) hides;
        those of the branch come second.
        """
        x = self.encoder.patch_embed(images)  # (B, N, D)
        layer = 0 if self.branch is None else self.branch.layer
        last, states = hidden_states(self.encoder, x, mask, self.mask_token, layer)
        found = [last] if self.branch is None else [last, self.branch(self.encoder, last, states)]
        return [self.encoder.norm(x) for x in found]

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        mask = batch["mask"]  # (B, N)
        target = self.tokenizer.codes(unit(batch, self.size))  # (B, N)
        hidden = mask.int().argsort(dim=1, descending=True, stable=True)[:, : self.most]  # (B, M)
        counts = mask.gather(1, hidden)  # images may hide fewer than M
        draw_paths(self, draw)
        words = target.gather(1, hidden)
        losses = []
        for latent in self.latents(batch["image"], mask):
            logits = self.head(take(latent[:, 1:], hidden)).float()  # (B, M, K)
            losses.append(word_loss(logits, words, counts))
            if len(losses) == 1:
                right = ((logits.argmax(-1) == words) * counts).sum() / counts.sum().clamp(min=1)
        numbers = {"accuracy": right, **read(words, counts, mask)}
        return {"loss": torch.stack(losses).sum(), "count": counts.sum(), **numbers}

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """Images (B, C, H, W): the input, what the encoder sees, the words, those predicted where
        hidden; a word has a colour of its own.
        """
        draw_paths(self, None)
        words = self.tokenizer.codes(unit(batch, self.size))
        latent = self.latents(batch["image"], batch["mask"])[0]
        guess = torch.where(batch["mask"], self.head(latent[:, 1:]).argmax(-1), words)
        return word_pictures(batch["image"], batch["mask"], self.encoder, words, guess)


def word_loss(logits: Tensor, words: Tensor, counts: Tensor) -> Tensor:
    """Mean over all hidden patches of the batch: logits (B, M, K), words (B, M), counts bool."""
    error = nn.functional.cross_entropy(logits.flatten(0, 1), words.flatten(), reduction="none")
    return (error * counts.flatten()).sum() / counts.sum().clamp(min=1)


@torch.no_grad()
def read(words: Tensor, counts: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """What was hidden, and the mean and deviation of the words' numbers (B, M) that count."""
    x, total = words.float(), counts.sum().clamp(min=1)
    mean = (x * counts).sum() / total
    variance = ((x - mean).square() * counts).sum() / total
    return {
        "mask_ratio": mask.float().mean(), "target_mean": mean, "target_std": variance.sqrt()
    }  # fmt: skip


def views(params: OnTokenizer) -> Views:
    """One crop rendered twice, and its mask."""
    side = params.encoder.img_size // params.encoder.patch_size
    cut = two_renderings(params.augment, params.encoder.img_size, params.tokens, params.jitter)

    def look(images: Images, draw: Draw, step: int) -> dict[str, np.ndarray]:
        return {**cut(images, draw, step), "mask": patch_masks(params.mask, draw, (side, side))}

    return look


def networks(params: OnTokenizer) -> tuple[Beit, Frozen]:
    """The student and the tokenizer. Raises ValueError where they have another grid."""
    encoder = build_beit(params.encoder.name, params.encoder.timm())
    add_drop_paths(encoder, params.encoder.drop_path)
    tokenizer = load_tokenizer(Path(params.needs))
    tokenizer.check(params.tokens.size, encoder.patch_embed.grid_size)
    return encoder, tokenizer


def build(params: BEiTParams) -> BEiT:
    """The method of a run. Raises what `networks` does."""
    encoder, tokenizer = networks(params)
    given, branch = params.branch, None
    if given is not None:
        branch = Bottleneck(encoder, given.layer, given.depth, params.encoder.drop_path)
    return BEiT(encoder, tokenizer, params.mask.hidden, params.tokens.size, branch)
