"""The head of self-distillation: equal to the reference, and what its last layer promises."""

from __future__ import annotations

from typing import Any

import torch

from mimflow.decoders.prototypes import CodeHead, Codes
from mimflow.params.selfdistill import Head


def head(**changes: Any) -> CodeHead:
    values = {"hidden": 24, "bottleneck": 8, "codes": 11, "patch_codes": 7, "train_gain": True}
    return CodeHead(16, Head.model_validate({**values, **changes}))


def test_class_and_patch_logits_equal_the_reference(golden: Any) -> None:
    reference = golden("ibot_loss")
    ours, names = head(), {"last_layer": "classes", "last_layer2": "own_patches"}
    parts = {"weight_g": "gain", "weight_v": "direction"}
    state = {}
    for key, x in reference.group("head.state").items():
        first, *rest = key.split(".")
        name = [names[first], parts[rest[0]]] if first in names else [first, *rest]
        state[".".join(name)] = x
    ours.load_state_dict(state)
    tokens = reference["head.in"]
    torch.testing.assert_close(
        ours.classes(ours(tokens[:, 0])), reference["head.cls_out"], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        ours.patches(ours(tokens[:, 1:])), reference["head.patch_out"], rtol=1e-4, atol=1e-5
    )


def test_the_mean_of_logits_is_that_of_the_mean_feature() -> None:
    torch.manual_seed(0)
    codes, features = Codes(8, 11, True), torch.randn(5, 7, 8)
    expected = codes(features).mean((0, 1))
    torch.testing.assert_close(codes.of_mean(features), expected, rtol=1e-5, atol=1e-6)


def test_gains_begin_at_one_and_are_trained_only_where_asked() -> None:
    assert (head().classes.gain == 1).all() and head().classes.gain.requires_grad
    fixed = head(train_gain=False)
    assert not fixed.classes.gain.requires_grad and fixed.classes.direction.requires_grad
    logits = fixed.classes(fixed(torch.randn(4, 16)))
    assert logits.abs().max() <= 1 + 1e-6  # a cosine


def test_one_last_layer_serves_both_unless_patches_have_their_own() -> None:
    shared, apart = head(patch_codes=None), head()
    assert shared.patches is shared.classes and len(shared.last_layers()) == 2
    assert apart.patches is not apart.classes and len(apart.last_layers()) == 4
    assert {id(p) for p in apart.last_layers()} <= {id(p) for p in apart.parameters()}
