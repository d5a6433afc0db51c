"""How a model of timm begins: made by name, and with the weights of MAE's encoder and decoder
(arXiv 2111.06377, reference code).
"""

from __future__ import annotations

from typing import Any

import timm
from timm.layers import DropPath
from timm.models import get_pretrained_cfg
from torch import nn


def create(name: str, kwargs: dict[str, Any]) -> nn.Module:
    """timm's model `name`, with timm's own first weights.

    Raises ValueError where timm has no such model, where its arguments do not fit, or where it
    would drop something at random: randomness comes from a run's `draw` alone.
    """
    try:
        model = timm.create_model(name, pretrained=False, **accepted(name, kwargs))
    except (TypeError, RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(f"encoder: timm can not build {name} with {kwargs}: {error}") from None
    assert isinstance(model, nn.Module)
    for part in model.modules():
        if isinstance(part, DropPath) and part.drop_prob:
            raise ValueError(f"encoder: {name} would drop paths: set kwargs.drop_path_rate to 0.0")
        if isinstance(part, nn.Dropout) and part.p:
            raise ValueError(f"encoder: {name} would drop values: set its dropout to 0.0")
    return model


def accepted(name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """`kwargs` as `timm.create_model` takes them: a model of any input size has no `img_size`; its
    configuration keeps the size.
    """
    facts = get_pretrained_cfg(name)
    if facts is None or facts.fixed_input_size or "img_size" not in kwargs:
        return kwargs
    size = kwargs["img_size"]
    rest = {key: value for key, value in kwargs.items() if key != "img_size"}
    return {**rest, "pretrained_cfg_overlay": {"input_size": [3, size, size]}}


def xavier(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every Linear below `module`, 1 and 0 for every
    norm.

    The fused qkv counts as one (3D, D) matrix, a patch convolution as the matrix (D, P) that it is.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(part.weight.data.flatten(1))
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
