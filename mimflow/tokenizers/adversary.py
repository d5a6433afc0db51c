"""An adversary of rebuilt pictures: it tells patches of real ones from rebuilt ones, by the hinge
loss (Esser et al., "Taming Transformers for High-Resolution Image Synthesis", arXiv 2012.09841).

One backward pass trains both sides: the tokenizer meets the adversary with weights that take no
gradient, the adversary meets pictures that take none. The term has a fixed weight; the reference
code weighs it by gradients at the decoder's last layer.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import leaky_relu, relu

from mimflow.params.tokenizers import Adversary
from mimflow.tokenizers.convs import group_norm
from mimflow.train.clock import Clock


class Discriminator(nn.Module):
    """Pictures (B, 3, H, W) to a map (B, 1, h, w): above 0 where they look real."""

    def __init__(self, width: int, depth: int):
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(depth)]
        pairs = zip([3, *widths[:-1]], widths, strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList([nn.Identity(), *(group_norm(w) for w in widths[1:])])
        self.last = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = leaky_relu(norm(conv(x)), 0.2)
        out: Tensor = self.last(x)
        return out


class Opponent(nn.Module):
    """The discriminator, and when and how much it counts."""

    def __init__(self, params: Adversary):
        super().__init__()
        self.params = params
        self.judge = Discriminator(params.width, params.depth)

    def forward(self, images: Tensor, rebuilt: Tensor, clock: Clock) -> tuple[Tensor, Tensor]:
        """The tokenizer's term by its weight, and the adversary's own loss; 0 before its start."""
        active = float(clock.fraction >= self.params.start)
        still = {name: p.detach() for name, p in self.judge.named_parameters()}
        fooled = -functional_call(self.judge, still, (rebuilt,)).float().mean()
        real, made = self.judge(images).float(), self.judge(rebuilt.detach()).float()
        own = 0.5 * (relu(1 - real).mean() + relu(1 + made).mean())
        return active * self.params.weight * fooled, active * own


def pixel_error(rebuilt: Tensor, images: Tensor, kind: str) -> Tensor:
    """Mean squared or absolute error over all values."""
    error = rebuilt - images
    return (error.square() if kind == "squared" else error.abs()).mean()
