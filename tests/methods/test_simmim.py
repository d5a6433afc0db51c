"""SimMIM: equal to the reference numbers, ViT and Swin, and the invariants of its sheet."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mimflow.backbones import beit, swin
from mimflow.draw import Draw
from mimflow.masks.random import random_mask
from mimflow.methods.simmim import SimMIM, build, l1
from mimflow.params.read import read_yaml
from mimflow.params.simmim import SimMIMParams
from mimflow.targets.pixels import patchify, standardise
from mimflow.tokens import masked_mean
from mimflow.train.clock import Clock

ROOT = Path(__file__).parents[2]
CLOCK = Clock(0, 10, 0.0, 1.0)
RUNS = read_yaml(ROOT / "presets/zoo.yaml")["runs"]
PLAIN = RUNS["mae"]["encoder"]
NOT_OURS = ("relative_position_index", "attn_mask")  # tables that timm computes


def values_of(name: str) -> dict[str, Any]:
    """The zoo's run; `plain`: with MAE's ViT, whose positions are absolute."""
    if name == "plain":
        return {**RUNS["simmim-vit"], "encoder": PLAIN}
    return dict(RUNS[f"simmim-{name}"])


def built(name: str, **changes: Any) -> SimMIM:
    torch.manual_seed(0)
    return build(SimMIMParams.model_validate({**values_of(name), **changes}))


@pytest.fixture(params=["vit", "swin", "plain"])
def simmim(request: pytest.FixtureRequest) -> SimMIM:
    return built(request.param)


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def draw_of(count: int = 4) -> Draw:
    return Draw(torch.arange(count), "test")


def hidden_of(simmim: SimMIM, count: int = 4) -> Tensor:
    return random_mask(draw_of(count).uniform("mask", simmim.side**2), simmim.visible)[1]


def golden_method(golden: Any, name: str) -> SimMIM:
    c = golden.facts["config"]
    sizes = {k: c[k] for k in ("img_size", "patch_size", "embed_dim", "num_heads")}
    encoder: Any
    if name == "swin":
        sizes |= {k: c[k] for k in ("depths", "window_size", "drop_path_rate")}
        encoder = swin.build_swin("swin_tiny_patch4_window7_224", {**sizes, "num_classes": 0})
        replace, cell = swin.replace, c["mask_patch_size"]
    else:
        sizes |= {"depth": c["depth"], "init_values": c["init_values"]}
        bias = {"use_shared_rel_pos_bias": True, "use_rel_pos_bias": False, "use_abs_pos_emb": True}
        how = {"num_classes": 0, "global_pool": "token"}
        encoder = beit.build_beit("beit_base_patch16_224", {**sizes, **bias, **how})
        replace, cell = beit.replace, c["patch_size"]
    simmim = SimMIM(encoder, replace, cell, 0.6, c["img_size"])
    ours = {own_name(k): x for k, x in golden.group("state").items() if not k.endswith(NOT_OURS)}
    simmim.load_state_dict(ours)
    return simmim


def own_name(reference: str) -> str:
    name = reference.replace("decoder.0", "head.0").replace("encoder.mask_token", "mask_token")
    # timm merges patches at the beginning of a stage, the reference at the end of the one before
    return name.replace("layers.0.downsample", "layers.1.downsample")


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours.detach(), theirs, rtol=1e-4, atol=1e-5)


def golden_case(golden: Any, name: str) -> tuple[Any, SimMIM, Tensor, Tensor]:
    """The reference numbers, the method, the mask on the patch grid (B, h, w), and on pixels."""
    reference = golden(f"simmim_{name}")
    simmim, mask = golden_method(reference, name), reference["in.mask"].bool()
    where = mask.repeat_interleave(simmim.patch, 1).repeat_interleave(simmim.patch, 2)
    return reference, simmim, mask, where[:, None]


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_latents_predictions_and_losses_equal_the_reference(golden: Any, name: str) -> None:
    reference, simmim, mask, where = golden_case(golden, name)
    x = simmim.encoder.patch_embed(reference["in.imgs"])
    z = simmim.replace(simmim.encoder, x, mask.flatten(1), simmim.mask_token)
    z = z[:, 1:].unflatten(1, mask.shape[1:]) if z.ndim == 3 else z
    close(z.permute(0, 3, 1, 2), reference["out.z"])
    prediction = simmim.predict(reference["in.imgs"], mask)
    close(prediction, reference["out.rec"])
    loss, count = l1(prediction, reference["in.imgs"], where)
    torch.testing.assert_close(loss.detach(), reference["loss"], rtol=1e-5, atol=0)
    assert count == mask.sum() * simmim.patch**2


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_gradients_equal_the_reference(golden: Any, name: str) -> None:
    reference, simmim, mask, where = golden_case(golden, name)
    l1(simmim.predict(reference["in.imgs"], mask), reference["in.imgs"], where)[0].backward()
    ours = {k: p.grad for k, p in simmim.named_parameters()}
    norms = reference.facts["grad_norms"]
    assert {own_name(k) for k in norms} == set(ours)
    for key, norm in norms.items():
        assert ours[own_name(key)].norm().item() == pytest.approx(norm, rel=1e-3)
    for key, gradient in reference.group("grad").items():
        largest = gradient.abs().max().item()
        torch.testing.assert_close(ours[own_name(key)], gradient, rtol=1e-3, atol=1e-5 * largest)


@pytest.mark.parametrize(("size", "cell", "count"), [(192, 32, 22), (224, 32, 30), (32, 8, 10)])
def test_the_count_of_hidden_cells_is_rounded_up(size: int, cell: int, count: int) -> None:
    simmim = SimMIM(built("vit").encoder, beit.replace, cell, 0.6, size)
    assert simmim.side**2 - simmim.visible == count == math.ceil(0.6 * (size // cell) ** 2)


def test_every_mask_has_its_cells_and_a_cell_is_hidden_whole(simmim: SimMIM) -> None:
    hidden = hidden_of(simmim, 64)
    assert hidden.shape == (64, 10) and len({tuple(row) for row in hidden.tolist()}) > 60
    for size in (simmim.patch, 1):
        mask, times = simmim.mask(hidden, size), simmim.cell // size
        assert (mask.sum((1, 2)) == 10 * times**2).all()
        cells = mask.unflatten(2, (-1, times)).unflatten(1, (-1, times))
        assert (cells == cells[:, :, :1, :, :1]).all()


def test_hidden_pixels_do_not_reach_the_prediction(simmim: SimMIM) -> None:
    hidden = hidden_of(simmim)
    mask, where = simmim.mask(hidden, simmim.patch), simmim.mask(hidden, 1)[:, None]
    other = torch.where(where, torch.randn(4, 3, 32, 32), images())
    ours, theirs = simmim.predict(images(), mask), simmim.predict(other, mask)
    assert torch.equal(ours, theirs)
    assert not torch.equal(l1(ours, images(), where)[0], l1(theirs, other, where)[0])
    seen = torch.where(where, images(), torch.randn(4, 3, 32, 32))
    assert not torch.equal(ours, simmim.predict(seen, mask))


def test_the_loss_is_the_mean_error_of_the_hidden_colours(simmim: SimMIM) -> None:
    where = simmim.mask(hidden_of(simmim), 1)[:, None]
    prediction = images(8)[4:].requires_grad_()
    l1(prediction, images(), where)[0].backward()
    assert prediction.grad is not None
    assert (prediction.grad.abs().sum(1, keepdim=True)[~where] == 0).all()
    torch.testing.assert_close(prediction.grad.abs().sum(), torch.ones(()), rtol=1e-5, atol=0)
    assert l1(images(), images(), where)[0] == 0
    torch.testing.assert_close(
        l1(images() + 1, images(), where)[0], torch.ones(()), rtol=1e-5, atol=0
    )


def test_an_output_channel_is_a_colour_a_row_and_a_column() -> None:
    simmim = built("vit")
    nn.init.zeros_(simmim.head[0].weight)
    simmim.head[0].bias.data.copy_(torch.arange(48.0))  # 3 colours, 4 x 4 pixels of a patch
    [picture] = simmim.predict(images(1), torch.zeros(1, 8, 8, dtype=torch.bool))
    for colour, row, column in ((0, 0, 1), (1, 0, 0), (2, 3, 2)):
        assert (picture[colour, row::4, column::4] == colour * 16 + row * 4 + column).all()


def test_without_a_mask_the_encoder_is_the_plain_backbone(simmim: SimMIM) -> None:
    simmim.eval()
    x = simmim.encoder.patch_embed(images())
    mask = torch.zeros(4, x[0, ..., 0].numel(), dtype=torch.bool)
    ours = simmim.replace(simmim.encoder, x, mask, simmim.mask_token)
    torch.testing.assert_close(ours, simmim.encoder.forward_features(images()), rtol=0, atol=1e-5)


def test_cells_of_a_patch_are_random_patch_masking() -> None:
    simmim = built("vit", cell=4)
    hidden = hidden_of(simmim)
    assert hidden.shape == (4, 39)  # ceil(0.6 * 64)
    assert torch.equal(simmim.mask(hidden, 4).flatten(1).nonzero()[:, 1].view(4, 39), hidden)


def test_with_maes_target_and_distance_it_is_maes_loss() -> None:
    simmim = built("vit")
    hidden = hidden_of(simmim)
    mask = simmim.mask(hidden, 4)
    prediction = patchify(simmim.predict(images(), mask), 4)  # channels in MAE's order
    error = (prediction - standardise(patchify(images(), 4))).square()
    where = patchify(simmim.mask(hidden, 1)[:, None].float().expand(-1, 3, -1, -1), 4)
    pooled = (error * where).sum() / where.sum()  # SimMIM's denominator: hidden values
    torch.testing.assert_close(pooled, masked_mean(error.mean(-1), mask.flatten(1)))


def test_the_token_stands_in_before_positions_are_added() -> None:
    simmim = built("plain")
    nn.init.zeros_(simmim.mask_token)
    seen: list[Tensor] = []
    simmim.encoder.blocks[0].register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    simmim.predict(images(1), torch.ones(1, 8, 8, dtype=torch.bool))
    assert torch.equal(seen[0][:, 1:], simmim.encoder.pos_embed[:, 1:])


def test_the_forward_pass_is_the_loss_of_the_drawn_mask(simmim: SimMIM) -> None:
    out = simmim({"image": images()}, draw_of(), CLOCK)
    hidden = hidden_of(simmim)
    where = simmim.mask(hidden, 1)[:, None]
    loss, count = l1(simmim.predict(images(), simmim.mask(hidden, simmim.patch)), images(), where)
    assert torch.equal(out["loss"], loss) and out["count"] == count == 4 * 10 * 64
    assert out["mask_ratio"].item() == pytest.approx(0.625)
    values = images()[where.expand(-1, 3, -1, -1)]
    assert out["target_mean"].item() == pytest.approx(values.mean().item(), abs=1e-5)
    assert out["target_std"].item() == pytest.approx(values.std().item(), rel=1e-3)


def test_images_may_hide_different_numbers_of_pixels() -> None:
    where = torch.zeros(4, 1, 32, 32, dtype=torch.bool)
    for image in range(4):
        where[image, :, : 4 + 7 * image] = True
    prediction = images(8)[4:]
    whole, count = l1(prediction, images(), where)
    parts = [l1(prediction[i : i + 1], images()[i : i + 1], where[i : i + 1]) for i in range(4)]
    shares = torch.stack([loss * number for loss, number in parts])
    torch.testing.assert_close(whole, shares.sum() / count)
    assert whole.item() != pytest.approx(torch.stack([loss for loss, _ in parts]).mean().item())


def test_dropped_paths_are_drawn_for_each_image_and_only_in_training() -> None:
    encoder = {**RUNS["simmim-vit"]["encoder"], "drop_path": 0.5}
    simmim = built("vit", encoder=encoder)
    batch = {"image": images(8)}
    whole = simmim(batch, draw_of(8), CLOCK)["loss"]
    assert torch.equal(whole, simmim(batch, draw_of(8), CLOCK)["loss"])
    halves = [
        simmim({"image": images(8)[i : i + 4]}, Draw(torch.arange(i, i + 4), "test"), CLOCK)["loss"]
        for i in (0, 4)
    ]
    torch.testing.assert_close(sum(halves) / 2, whole)
    shares = [p.share for p in simmim.modules() if isinstance(p, beit.DropPath)]
    assert shares == [0, 0, 0.5, 0.5]
    [first] = {tuple(p.factor.flatten().tolist()) for p in simmim.modules()
               if isinstance(p, beit.DropPath) and p.factor is not None
               and p is simmim.encoder.blocks[1].drop_path1}  # fmt: skip
    assert {*first} == {0.0, 2.0}
    simmim.eval()
    plain = built("vit").eval()
    plain.load_state_dict(simmim.state_dict())
    mask = simmim.mask(hidden_of(simmim, 8), 4)
    assert torch.equal(simmim.predict(images(8), mask), plain.predict(images(8), mask))


def test_the_first_weights_are_beits(simmim: SimMIM) -> None:
    encoder = simmim.encoder
    assert simmim.mask_token.std() > 0
    if not isinstance(encoder, beit.Beit):
        return
    assert encoder.blocks[0].attn.qkv.weight.abs().max() <= 0.02
    assert encoder.patch_embed.proj.weight.std().item() == pytest.approx(0.0108, rel=0.05)
    for number, block in enumerate(encoder.blocks, start=1):
        bound = 0.02 / math.sqrt(2 * number)
        assert 0.9 * bound < block.mlp.fc2.weight.abs().max() <= bound
        assert 0.9 * bound < block.attn.proj.weight.abs().max() <= bound
        assert (block.gamma_1 == 0.1).all() and (block.attn.k_bias == 0).all()
    assert (encoder.rel_pos_bias.relative_position_bias_table == 0).all()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("vit", {"cell": 7}, "img_size 32 is not a multiple of cell 7"),
        ("vit", {"cell": 2}, "cell 2 is not a multiple of the encoder's patch 4"),
        ("swin", {"encoder": {"kind": "grid", "name": "resnet18", "img_size": 32, "kwargs": {}}},
         "resnet18 can not replace patches by a mask token"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(name, **changes)


def test_a_swin_that_drops_paths_by_itself_is_refused() -> None:
    encoder = RUNS["simmim-swin"]["encoder"]
    kwargs = {k: v for k, v in encoder["kwargs"].items() if k != "drop_path_rate"}
    with pytest.raises(ValueError, match=r"set kwargs.drop_path_rate to 0.0"):
        built("swin", encoder={**encoder, "kwargs": kwargs})  # timm's own rate is 0.1


def test_pictures_show_the_image_what_is_seen_and_the_hidden_part_rebuilt(simmim: SimMIM) -> None:
    shown = simmim.pictures({"image": images()}, draw_of(), CLOCK)
    assert list(shown) == ["input", "masked", "rebuilt"]
    where = simmim.mask(hidden_of(simmim), 1)[:, None].expand(-1, 3, -1, -1)
    assert torch.equal(shown["input"], images()) and (shown["masked"][where] == 0).all()
    for name in ("masked", "rebuilt"):
        assert torch.equal(shown[name][~where], images()[~where])
