"""Groups, rates and updates as published; a step that is not finite changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn
from toy import toy_method, toy_run

from mimflow.params.training import LARS, SGD, AdamW, Optimiser
from mimflow.train.layers import depths_of, layer_decay, layer_of
from mimflow.train.optim import build_optimiser, clip_each, parameter_groups, set_rates

SHARED = {
    "base_lr": 0.1,
    "lr_batch": None,
    "weight_decay": 0.05,
    "undecayed": ["vectors"],
    "clip_norm": None,
    "clip_each": None,
}
KINDS: list[Optimiser] = [
    AdamW(kind="adamw", betas=[0.9, 0.95], eps=1e-8, **SHARED),  # type: ignore[arg-type]
    SGD(kind="sgd", momentum=0.9, nesterov=False, **SHARED),  # type: ignore[arg-type]
    LARS(kind="lars", momentum=0.9, trust=0.001, **SHARED),  # type: ignore[arg-type]
]


def test_weights_are_decayed_and_norms_and_biases_are_not() -> None:
    method = toy_method(toy_run())
    groups = parameter_groups(method.named_parameters(), 0.05, ["vectors"])
    names = {id(p): name for name, p in method.named_parameters()}
    decayed = {names[id(p)] for g in groups if g["decays"] for p in g["params"]}
    kept = {names[id(p)] for g in groups if not g["decays"] for p in g["params"]}
    assert kept == {
        n
        for n, p in method.named_parameters()
        if p.requires_grad and (n.endswith("bias") or "norm" in n)
    }
    assert {"encoder.cls_token", "decoder.mask_token"} <= decayed
    assert "encoder.pos_embed" not in decayed | kept


def test_names_may_be_kept_from_decay_and_everything_may_decay() -> None:
    method = toy_method(toy_run())
    named = list(method.named_parameters())
    groups = parameter_groups(named, 0.05, ["vectors", "cls_token"])
    kept = {id(p) for g in groups if not g["decays"] for p in g["params"]}
    assert id(dict(named)["encoder.cls_token"]) in kept
    [all_in_one] = parameter_groups(named, 0.05, [])
    assert len(all_in_one["params"]) == sum(p.requires_grad for _, p in named)


@pytest.mark.parametrize(
    ("table", "decay"),
    [("mae_vit_b_global_pool_decay0.65", 0.65), ("mae_vit_b_cls_decay0.75", 0.75)],
)
def test_layer_decay_groups_equal_the_reference(golden: Any, table: str, decay: float) -> None:
    expected = golden("layer_decay").facts["tables"][table]["parameters"]
    with torch.device("meta"):
        pool = {"global_pool": "avg"} if "global_pool" in table else {"global_pool": "token"}
        vit = timm.create_model("vit_base_patch16_224", **pool)
    named = list(vit.named_parameters())
    groups = parameter_groups(
        named, 0.05, ["vectors", "cls_token", "pos_embed"], layer_decay(decay, depths_of(vit))
    )
    names = {id(p): name for name, p in named}
    ours = {names[id(p)]: (g["scale"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert ours.keys() == expected.keys()
    for name, (scale, weight_decay) in ours.items():
        assert scale == pytest.approx(expected[name][0], rel=1e-10), name
        assert weight_decay == expected[name][1], name


def test_blocks_in_stages_are_counted_through() -> None:
    """SimMIM's table for Swin: the map that halves a stage's output belongs to its last block."""
    with torch.device("meta"):
        swin = timm.create_model("swin_tiny_patch4_window7_224")
        convnext = timm.create_model("convnext_atto")
        resnet = timm.create_model("resnet18")
    assert depths_of(swin) == depths_of(convnext) == [2, 2, 6, 2]
    expected = {
        "patch_embed.proj.weight": 0,
        "layers.0.blocks.0.attn.qkv.weight": 1,
        "layers.0.blocks.1.mlp.fc1.bias": 2,
        "layers.1.downsample.reduction.weight": 2,
        "layers.2.blocks.5.norm1.weight": 10,
        "layers.3.downsample.norm.weight": 10,
        "layers.3.blocks.1.attn.relative_position_bias_table": 12,
        "norm.weight": 13,
        "head.fc.weight": 13,
    }
    names = [name for name, _ in swin.named_parameters()]
    assert set(expected) <= set(names)
    assert {name: layer_of(name, [2, 2, 6, 2]) for name in expected} == expected
    for model in (swin, convnext):
        layers = [layer_of(name, depths_of(model)) for name, _ in model.named_parameters()]
        assert layers == sorted(layers) and set(layers) == set(range(14))
    with pytest.raises(ValueError, match=r"layer_decay: ResNet has no blocks to count; allowed: 1"):
        depths_of(resnet)


def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def stepped(rule: Optimiser, flags: list[float | None], module: nn.Linear) -> list[torch.Tensor]:
    """The moments of `module` after steps on fixed gradients: those with a flag are not finite,
    those with None are not taken.
    """
    groups = parameter_groups(module.named_parameters(), 0.05, ["vectors"])
    optimiser = build_optimiser(groups, rule)
    for i, flag in enumerate(flags):
        if flag is None:
            continue
        set_rates(optimiser, 0.1, 0.05)
        generator = torch.Generator().manual_seed(i)
        for p in module.parameters():
            g = torch.randn(p.shape, generator=generator)
            p.grad = g * float("nan") if flag else g
        optimiser.found_inf = torch.tensor(flag)  # type: ignore[attr-defined]
        optimiser.step()
    return [torch.as_tensor(x) for s in optimiser.state.values() for x in s.values()]


@pytest.mark.parametrize("rule", KINDS, ids=lambda r: r.kind)
def test_a_step_that_is_not_finite_changes_neither_weights_nor_moments(rule: Optimiser) -> None:
    for flags in ([0.0, 1.0], [1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]):
        plain, flawed = layer(), layer()
        moments = stepped(rule, [None if flag else 0.0 for flag in flags], plain)
        assert len(moments) >= 2
        for ours, theirs in zip(stepped(rule, flags, flawed), moments, strict=True):
            assert torch.equal(ours, theirs)
        assert torch.equal(plain.weight, flawed.weight) and torch.equal(plain.bias, flawed.bias)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torchs_also_where_a_gradient_comes_late(nesterov: bool) -> None:
    rule = KINDS[1].model_copy(update={"nesterov": nesterov})
    ours, theirs = layer(), layer()
    groups = [parameter_groups(m.named_parameters(), 0.05, []) for m in (ours, theirs)]
    other = torch.optim.SGD(groups[1], 0.0, momentum=0.9, nesterov=nesterov)
    for optimiser, module in ((build_optimiser(groups[0], rule), ours), (other, theirs)):
        for step in range(4):
            set_rates(optimiser, 0.1, 0.05)
            generator = torch.Generator().manual_seed(step)
            module.weight.grad = torch.randn(3, 4, generator=generator)
            module.bias.grad = torch.randn(3, generator=generator) if step > 1 else None
            optimiser.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_a_decay_may_rise_from_zero() -> None:
    groups = parameter_groups(layer().named_parameters(), 0.0, ["vectors"])
    optimiser = build_optimiser(groups, KINDS[0])
    set_rates(optimiser, 0.1, 0.4)
    assert sorted(g["weight_decay"] for g in optimiser.param_groups) == [0.0, 0.4]


def test_lars_moves_a_matrix_by_a_fixed_share_of_its_norm_and_a_vector_plainly() -> None:
    module, start = layer(), layer()
    stepped(KINDS[2], [0.0], module)
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(3, 4, generator=generator)
    b = torch.randn(3, generator=generator)
    update = g + 0.05 * start.weight
    expected = start.weight - 0.1 * 0.001 * start.weight.norm() / update.norm() * update
    torch.testing.assert_close(module.weight, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(module.bias, start.bias - 0.1 * b, rtol=1e-6, atol=0)


def test_each_gradient_is_clipped_by_its_own_norm() -> None:
    gradients = [torch.full((4,), 3.0), torch.full((4,), 0.1)]
    clip_each(gradients, [g.norm() for g in gradients], 3.0)
    assert gradients[0].norm().item() == pytest.approx(3.0, rel=1e-6)
    assert torch.equal(gradients[1], torch.full((4,), 0.1))
