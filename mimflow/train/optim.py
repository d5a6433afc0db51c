"""Optimisers as published, over groups of parameters that share a rate and a weight decay.

Each takes `found_inf`, a float on the device: where it is 1 the step changes nothing, so that a
gradient that is not finite is left out without waiting for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mimflow.params.training import SGD, AdamW, Optimiser
from mimflow.train.sgd import LayerwiseSGD, MomentumSGD

Group = dict[str, Any]


def build_optimiser(groups: list[Group], params: Optimiser) -> torch.optim.Optimizer:
    """The optimiser of a run; its rate is set before each step."""
    if isinstance(params, AdamW):
        fused = all(p.device.type in ("cpu", "cuda") for g in groups for p in g["params"])
        first, second = params.betas
        return torch.optim.AdamW(groups, lr=0.0, betas=(first, second), eps=params.eps, fused=fused)
    if isinstance(params, SGD):
        return MomentumSGD(groups, params.momentum, params.nesterov)
    return LayerwiseSGD(groups, params.momentum, params.trust)


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    decay: float,
    undecayed: list[str],
    scale_of: Callable[[str], float] = lambda name: 1.0,
) -> list[Group]:
    """Groups {params, weight_decay, decays, scale} of the trained parameters, in order of their
    first member; `decays`: whether a schedule of the decay is theirs.

    No decay where a part of the name is in `undecayed`, or for one dimension if `vectors` is.
    `scale_of` gives a parameter's share of the rate, by its name (`mimflow/train/layers.py`).
    """
    groups: dict[tuple[float, bool], Group] = {}
    for name, p in named:
        if not p.requires_grad:
            continue
        plain = ("vectors" in undecayed and p.ndim <= 1) or set(name.split(".")) & {*undecayed}
        scale, decays = scale_of(name), not plain
        rates = {"weight_decay": decay if decays else 0.0, "decays": decays, "scale": scale}
        groups.setdefault((scale, decays), {"params": [], **rates})["params"].append(p)
    return list(groups.values())


def set_rates(optimiser: torch.optim.Optimizer, rate: float, decay: float) -> None:
    """`rate` by each group's scale; `decay` for the groups that decay at all."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]
        group["weight_decay"] = decay if group["decays"] else 0.0


def clip_each(gradients: list[Tensor], norms: list[Tensor], bound: float) -> None:
    """Scales each gradient to a norm of at most `bound`, as in iBOT's reference code."""
    torch._foreach_mul_(gradients, [(bound / (n + 1e-6)).clamp(max=1.0) for n in norms])
