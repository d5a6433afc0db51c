"""Fine-tuning: the whole encoder and a new head, trained on labels (MAE, arXiv 2111.06377, A.2).

It trains in the loop of every method: views, forward, `after_step`. Parts that exist are timm's
(the model with its head, RandAugment); what rolls dice there draws numbers here.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import timm
import torch
from scipy.stats import beta
from torch import Tensor, nn

from mimflow.backbones.drop import draw_paths, drop_paths
from mimflow.data.augment import Images, Views, one_view
from mimflow.draw import Draw
from mimflow.params.tasks.finetune import Finetune
from mimflow.targets.momentum import follow, momentum_copy
from mimflow.train.clock import Clock
from mimflow.train.layers import layer_decay

ERASED = (0.02, 1 / 3)  # share of the area that random erasing takes (arXiv 1708.04896)


class Finetuned(nn.Module):
    """`encoder`: a timm model with a head; `labels` int64 (n,) of all images by sample id."""

    def __init__(
        self, encoder: nn.Module, labels: Tensor, classes: int, how: Finetune, depths: list[int]
    ):
        super().__init__()
        self.encoder, self.classes, self.how = encoder, classes, how
        self.register_buffer("labels", labels, persistent=False)
        self.averaged = momentum_copy(encoder) if how.average is not None else None
        self.scale_of = layer_decay(how.layer_decay, depths)

    @property
    def evaluated(self) -> nn.Module:
        """The weights that count in the end."""
        return self.encoder if self.averaged is None else self.averaged

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        x, label = batch["image"], self.labels[batch["sample"]]  # type: ignore[index]
        smooth = self.how.smoothing
        target = nn.functional.one_hot(label, self.classes) * (1 - smooth) + smooth / self.classes
        x = erase(x, self.how.erase, draw)
        x, target = mix(x, target, self.how, clock)
        draw_paths(self.encoder, draw)
        logits = self.encoder(x).float()  # (B, classes)
        loss = -(target * logits.log_softmax(-1)).sum(-1).mean()
        accuracy = (logits.detach().argmax(-1) == label).float().mean()
        return {"loss": loss, "train_accuracy": 100 * accuracy}

    def after_step(self, clock: Clock) -> None:
        """The averaged weights follow."""
        if self.averaged is not None and self.how.average is not None:
            follow(self.averaged, self.encoder, self.how.average)


def mix(x: Tensor, target: Tensor, how: Finetune, clock: Clock) -> tuple[Tensor, Tensor]:
    """Mixup (arXiv 1710.09412) or CutMix (arXiv 1905.04899) of the images (B, C, H, W) of two
    places side by side, whatever the micro-batch; one share for all, chosen evenly where both are
    on. Raises ValueError where a place has no neighbour.
    """
    alphas = [(name, a) for name, a in (("mixup", how.mixup), ("cutmix", how.cutmix)) if a > 0]
    if not alphas:
        return x, target
    if len(x) % 2:
        raise ValueError(f"compute.micro_batch: {len(x)} images are no pairs to mix; allowed: even")
    numbers = Draw(np.zeros(1, np.int64), "mix", how.seed, clock.step).uniform("mix", 4)[0]
    name, alpha = alphas[int(numbers[0] * len(alphas))]
    share = float(beta.ppf(float(numbers[1]), alpha, alpha))
    if name == "mixup":
        x = x * share + _neighbour(x) * (1 - share)
    else:
        height, width = x.shape[-2:]
        side = (1 - share) ** 0.5
        top, bottom = _span(height, side, float(numbers[2]))
        left, right = _span(width, side, float(numbers[3]))
        other = _neighbour(x)[..., top:bottom, left:right]
        x = x.clone()
        x[..., top:bottom, left:right] = other
        share = 1 - (bottom - top) * (right - left) / (height * width)
    return x, target * share + _neighbour(target) * (1 - share)


def _neighbour(x: Tensor) -> Tensor:
    """Rows 0 and 1, 2 and 3, ... in each other's place."""
    return x.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def _span(length: int, side: float, centre: float) -> tuple[int, int]:
    middle, half = centre * length, side * length / 2
    return max(round(middle - half), 0), min(round(middle + half), length)


def erase(x: Tensor, probability: float, draw: Draw) -> Tensor:
    """Random erasing (arXiv 1708.04896) of images (B, C, H, W): a rectangle becomes noise."""
    if probability == 0:
        return x
    height, width = x.shape[-2:]
    u = draw.uniform("erase", 5)  # (B, 5)
    low, high = ERASED
    area = (low + (high - low) * u[:, 1]) * height * width
    aspect = (0.3 * (1 / 0.3**2) ** u[:, 2]).sqrt()  # from 0.3 to 1 / 0.3, evenly in its logarithm
    tall = (area.sqrt() * aspect).clamp(max=height - 1)[:, None]
    wide = (area.sqrt() / aspect).clamp(max=width - 1)[:, None]
    top, left = u[:, 3:4] * (height - tall), u[:, 4:5] * (width - wide)
    row = torch.arange(height, device=x.device)[None]
    column = torch.arange(width, device=x.device)[None]
    rows, columns = (row >= top) & (row < top + tall), (column >= left) & (column < left + wide)
    hole = rows[:, :, None] & columns[:, None] & (u[:, 0] < probability)[:, None, None]  # (B, H, W)
    noise = draw.normal("noise", x[0].numel()).reshape(x.shape).to(x.dtype)
    return torch.where(hole[:, None], noise, x)


def views(how: Finetune, size: int) -> Views:
    """The crop or shift of `how`, then RandAugment (arXiv 1909.13719) where it is asked for."""
    plain = one_view(how.augment, size)
    if how.rand_augment is None:
        return plain
    from timm.data.auto_augment import rand_augment_transform

    try:
        policy = rand_augment_transform(how.rand_augment, {"translate_const": round(size * 0.45)})
    except (AssertionError, KeyError, ValueError, IndexError):
        raise ValueError(
            f"finetune.rand_augment: {how.rand_augment!r} is no policy of timm; allowed: null or"
            " such as rand-m9-mstd0.5-inc1"
        ) from None

    def augmented(images: Images, draw: Draw, step: int) -> dict[str, np.ndarray]:
        out = plain(images, draw, step)
        seeds = draw.integers("policy", 1, 2**31)[:, 0].tolist()
        out["image"] = np.stack(
            [_applied(policy, x, seed) for x, seed in zip(out["image"], seeds, strict=True)]
        )
        return out

    return augmented


def _applied(policy: Any, image: np.ndarray, seed: int) -> np.ndarray:
    """timm's policy rolls the global dice: they are set for this image and set back."""
    from PIL import Image

    before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        return np.asarray(policy(Image.fromarray(image)))
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def with_head(
    name: str, kwargs: dict[str, Any], state: dict[str, Tensor], classes: int, how: Finetune
) -> nn.Module:
    """timm's model `name` with a head for `classes`, and `state` in all that is not new.

    With the mean of the patch tokens the final norm is replaced by a new one behind the pooling, as
    in MAE. Raises ValueError where a weight of the encoder finds no place, or the model has not
    what `how` asks for.
    """
    pool = "avg" if how.pool == "mean" else "token"
    arguments = {**kwargs, "num_classes": classes, "global_pool": pool}
    try:
        model = timm.create_model(name, pretrained=False, **arguments)
    except (AssertionError, RuntimeError, TypeError) as error:
        raise ValueError(f"finetune.pool: {how.pool!r} is not for {name}: {error}") from None
    if how.drop_path and not any(hasattr(part, "drop_path1") for part in model.modules()):
        raise ValueError(f"finetune.drop_path: not for {name}; allowed: 0")
    missing, left = model.load_state_dict(state, strict=False)
    new = {k for k in missing if k.startswith(("head", "fc_norm"))}
    unused = {k for k in left if not k.startswith("norm.")}
    if unused or set(missing) - new:
        raise ValueError(f"encoder: {name} does not fit its weights: {sorted(unused)[:3]}")
    head: nn.Linear = model.get_classifier()  # type: ignore[operator]
    nn.init.trunc_normal_(head.weight, std=how.head_std)
    nn.init.zeros_(head.bias)
    drop_paths(model, how.drop_path)
    return model


def choose_labelled(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Ascending numbers of the chosen images: the share of each class, at least one; images without
    a label (-1) are left out. A larger share holds the smaller.
    """
    order = Draw(np.arange(len(labels)), "finetune", seed).uniform("order", 1)[:, 0]
    chosen = []
    for label in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(labels == label)
        count = max(round(share * len(members)), 1)
        chosen.append(members[np.argsort(order[members], kind="stable")[:count]])
    if not chosen:
        raise ValueError("finetune: no training image has a label")
    return np.sort(np.concatenate(chosen))
