"""FastMIM and FastMIM-P: the invariants of their sheet, on a ViT, a Swin and a PVT v2."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_encoders import backbone
from toy_fastmim import CLOCK, COMPUTE, HOG, draw_of, images, method, run

from mimflow.backbones.grid import num_prefix, stride, token_features
from mimflow.draw import Draw
from mimflow.masks.paint import pixels_of
from mimflow.targets.hog import by_patch, hog
from mimflow.targets.pixels import patchify, standardise
from mimflow.tokens import mask_of

ALL = pytest.mark.parametrize("name", ["vit", "swin", "pvt"])


@pytest.mark.parametrize(
    ("size", "block", "kept"), [(128, 16, 16), (128, 32, 4), (160, 32, 6), (192, 32, 9)]
)
def test_every_image_hides_exactly_its_share_and_masks_differ(
    size: int, block: int, kept: int
) -> None:
    fastmim = method(block=block)
    painted, hidden = fastmim.hide(images(16, size), draw_of(16))
    blocks = (size // block) ** 2
    assert hidden.shape == (16, blocks - kept)
    assert len({tuple(row) for row in hidden.tolist()}) > 4
    pixels = pixels_of(mask_of(hidden, blocks), painted.shape[-2:], block)
    colour = (painted == fastmim.colour).all(1, keepdim=True)
    assert torch.equal(pixels, colour)  # what is painted is what the loss looks at
    assert (pixels.flatten(1).sum(1) == (blocks - kept) * block**2).all()


@ALL
def test_hidden_pixels_do_not_reach_the_encoder_or_the_prediction(name: str) -> None:
    fastmim = method(name)
    x = images()
    painted, hidden = fastmim.hide(x, draw_of())
    mask = pixels_of(mask_of(hidden, (64 // fastmim.block) ** 2), x.shape[-2:], fastmim.block)
    other = torch.where(mask, torch.randn_like(x) * 100, x)
    assert torch.equal(fastmim.hide(other, draw_of())[0], painted)
    assert torch.equal(fastmim.predict(fastmim.hide(other, draw_of())[0]), fastmim.predict(painted))
    assert not torch.equal(fastmim.target(other), fastmim.target(x))  # made of the clean image


@ALL
def test_the_loss_looks_at_hidden_blocks_only(name: str) -> None:
    fastmim = method(name)
    seen: list[Tensor] = []
    fastmim.decoder.register_forward_hook(lambda m, inputs, out: seen.append(out))
    loss = fastmim({"image": images()}, draw_of(), CLOCK)["loss"]
    [gradient] = torch.autograd.grad(loss, seen)
    _, hidden = fastmim.hide(images(), draw_of())
    touched = gradient.abs().sum(-1) > 0
    assert torch.equal(touched, mask_of(hidden, touched.shape[1]))


@ALL
def test_every_weight_is_trained_and_positions_are_not(name: str) -> None:
    fastmim = method(name)
    fastmim({"image": images()}, draw_of(), CLOCK)["loss"].backward()
    idle = {n for n, p in fastmim.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == ({"encoder.pos_embed"} if name == "vit" else set())
    assert not fastmim.target(images()).requires_grad


@pytest.mark.parametrize(
    ("name", "block", "cell"),
    [
        ("vit", 16, 8),
        ("vit", 32, 8),
        ("vit", 8, 8),
        ("vit", 8, 4),
        ("vit", 16, 16),
        ("swin", 32, 8),
        ("swin", 16, 8),
        ("pvt", 32, 8),
        ("pvt", 8, 4),
    ],
)
def test_a_perfect_prediction_has_no_loss_at_any_blocks_and_cells(
    name: str, block: int, cell: int
) -> None:
    fastmim = method(name, block=block, target={**HOG, "cell": cell})
    target = hog(images(), 9, cell, None, True)
    tokens = by_patch(target, stride(fastmim.encoder) // cell)  # colour and bin, row, column

    class Perfect(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert (x.shape[1] - num_prefix(fastmim.encoder)) == tokens.shape[1]
            return tokens

    fastmim.decoder = Perfect()
    assert fastmim({"image": images()}, draw_of(), CLOCK)["loss"].item() == 0
    tokens[:] = 0  # where no cell is flat, each of 9 bins misses 1/9 on average
    loss = fastmim({"image": images()}, draw_of(), CLOCK)["loss"].item()
    assert loss == pytest.approx(1 / 9, rel=1e-6)


@pytest.mark.parametrize(("name", "block"), [("vit", 16), ("vit", 8), ("swin", 32), ("swin", 16)])
def test_the_loss_is_the_mean_over_the_values_of_the_hidden_cells(name: str, block: int) -> None:
    fastmim = method(name, block=block)
    losses = fastmim({"image": images()}, draw_of(), CLOCK)
    painted, hidden = fastmim.hide(images(), draw_of())
    mask = pixels_of(mask_of(hidden, (64 // block) ** 2), torch.Size((64, 64)), block)
    cells = mask[:, :, ::8, ::8].expand(-1, 27, -1, -1)
    target = hog(images(), 9, 8, None, True)[cells]
    error = (fastmim.predict(painted)[cells] - target).square().mean()
    torch.testing.assert_close(losses["loss"], error, rtol=1e-5, atol=0)
    assert losses["mask_ratio"].item() == 0.75
    assert losses["target_mean"].item() == pytest.approx(target.mean().item(), rel=1e-4)


def test_the_loss_starts_near_a_ninth_and_the_variance_of_the_prediction() -> None:
    fastmim = method()
    loss = fastmim({"image": images(32)}, draw_of(32), CLOCK)["loss"].item()
    painted, _ = fastmim.hide(images(32), draw_of(32))
    assert loss == pytest.approx(1 / 9 + fastmim.predict(painted).square().mean().item(), rel=0.1)


def test_the_pixel_target_is_that_of_mae() -> None:
    fastmim = method(target={"kind": "pixels", "norm_pixels": True})
    assert torch.equal(by_patch(fastmim.target(images()), 1), standardise(patchify(images(), 16)))
    nn.init.zeros_(fastmim.decoder.head.weight)
    loss = fastmim({"image": images()}, draw_of(), CLOCK)["loss"].item()
    assert loss == pytest.approx(767 / 768, rel=1e-4)


@ALL
def test_without_a_mask_the_encoder_is_the_plain_backbone(name: str) -> None:
    fastmim = method(name, mask_ratio=0.0)
    seen: list[Tensor] = []
    fastmim.decoder.register_forward_hook(lambda m, inputs, out: seen.append(inputs[0]))
    loss = fastmim({"image": images()}, draw_of(), CLOCK)["loss"]
    assert loss.item() == 0
    plain = backbone(name)
    plain.load_state_dict(fastmim.encoder.state_dict())
    assert torch.equal(seen[0], token_features(plain, images()))


def test_the_colour_is_one_learned_value_for_each_channel() -> None:
    torch.manual_seed(3)
    fastmim = method()
    assert fastmim.colour.shape == (1, 3, 1, 1) and 0 < fastmim.colour.abs().max() < 0.1
    fastmim({"image": images()}, draw_of(), CLOCK)["loss"].backward()
    assert (fastmim.colour.grad != 0).all()
    assert not any("mask" in n or "colour" in n for n, _ in fastmim.encoder.named_parameters())


@pytest.mark.parametrize(("name", "eps"), [("vit", 1e-6), ("swin", 1e-5)])
def test_the_decoder_has_a_head_for_32_channels_and_the_encoders_epsilon(
    name: str, eps: float
) -> None:
    decoder = method(name, decoder={"width": 96, "depth": 2}).decoder
    assert [block.attn.num_heads for block in decoder.blocks] == [3, 3]
    assert {m.eps for m in decoder.modules() if isinstance(m, nn.LayerNorm)} == {eps}
    assert all(block.attn.qkv.bias is not None for block in decoder.blocks)


def test_a_decoder_without_blocks_is_the_head_on_the_encoders_width() -> None:
    decoder = method(decoder={"width": 32, "depth": 0}).decoder
    assert {n for n, _ in decoder.named_parameters()} == {
        "norm.weight",
        "norm.bias",
        "head.weight",
        "head.bias",
    }
    assert decoder.head.in_features == 24


def test_the_class_token_takes_part_in_the_decoder_and_is_dropped_at_its_end() -> None:
    decoder = method().decoder
    tokens = torch.randn(2, 17, 24)
    other = torch.cat([tokens[:, :1] + 1, tokens[:, 1:]], 1)
    assert decoder(tokens).shape == (2, 16, 108)
    assert not torch.equal(decoder(tokens), decoder(other))


@ALL
def test_left_out_layers_are_exported_untrained_and_plain(name: str) -> None:
    torch.manual_seed(0)
    fastmim = method(name, drop_layers=1)
    before = copy.deepcopy(fastmim.encoder.state_dict())
    optimiser = torch.optim.AdamW([p for p in fastmim.parameters() if p.requires_grad], lr=0.1)
    fastmim({"image": images()}, draw_of(), CLOCK)["loss"].backward()
    optimiser.step()
    after = fastmim.encoder.state_dict()
    assert after.keys() == backbone(name).state_dict().keys()
    last = {"vit": "blocks.2.", "swin": "layers.3.blocks.0.", "pvt": "stages.3.blocks.0."}[name]
    same = {k for k in after if torch.equal(after[k], before[k])} - {"pos_embed"}
    assert same == {k for k in after if k.startswith(last)} != set()


@ALL
def test_bf16_is_close_to_fp32_and_leaves_the_target_alone(name: str) -> None:
    fastmim = method(name)
    plain = fastmim({"image": images()}, draw_of(), CLOCK)
    with torch.autocast("cpu", torch.bfloat16):
        half = fastmim({"image": images()}, draw_of(), CLOCK)
    assert half["loss"].dtype == torch.float32
    assert half["loss"].item() == pytest.approx(plain["loss"].item(), rel=0.02)
    assert torch.equal(half["target_mean"], plain["target_mean"])


@ALL
def test_micro_batches_give_the_loss_of_the_whole(name: str) -> None:
    fastmim, x = method(name), images(4)
    whole = fastmim({"image": x}, draw_of(4), CLOCK)["loss"]
    parts = [
        fastmim({"image": x[i : i + 2]}, Draw(torch.arange(4)[i : i + 2], "test"), CLOCK)["loss"]
        for i in (0, 2)
    ]
    torch.testing.assert_close(torch.stack(parts).mean(), whole, rtol=1e-5, atol=0)


@ALL
@pytest.mark.parametrize("kind", ["hog", "pixels"])
def test_pictures_show_input_paint_target_and_what_is_rebuilt(name: str, kind: str) -> None:
    target = HOG if kind == "hog" else {"kind": "pixels", "norm_pixels": True}
    fastmim, x = method(name, target=target), images()
    shown = fastmim.pictures({"image": x}, draw_of(), CLOCK)
    assert list(shown) == ["input", "masked", "target", "rebuilt"]
    assert {p.shape for p in shown.values()} == {x.shape}
    assert torch.equal(shown["input"], x)
    assert torch.equal(shown["masked"], fastmim.hide(x, draw_of())[0])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"block": 24, "target": {**HOG, "cell": 8}}, "sizes: 64 is no multiple of block 24"),
        ({"block": 16, "target": {**HOG, "cell": 32}}, "no multiple of target.cell 32"),
        ({"decoder": {"width": 48, "depth": 1}}, "multiple of 32"),
        ({"sizes": [{"img_size": 32, "start": 0.0}]}, "the last, 32, is not encoder.img_size 64"),
        ({"sizes": [{"img_size": 64, "start": 0.5}]}, "do not rise from 0 to below 1"),
        (
            {"sizes": [{"img_size": 32, "start": 0.0}, {"img_size": 64, "start": 0.0}]},
            "do not rise",
        ),
    ],
)
def test_parameters_that_do_not_fit_are_refused(changes: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        run(**changes)


def test_blocks_that_tokens_do_not_tile_are_refused() -> None:
    with pytest.raises(ValueError, match="must tile each other"):
        method("swin", block=16, target={"kind": "pixels", "norm_pixels": False})
    with pytest.raises(ValueError, match="48 is no multiple of the 32 pixels of a token"):
        sizes = [{"img_size": 48, "start": 0.0}, {"img_size": 64, "start": 0.5}]
        method("swin", block=16, sizes=sizes)


def test_swin_does_not_grow_under_fsdp() -> None:
    sizes = [{"img_size": 32, "start": 0.0}, {"img_size": 64, "start": 0.5}]
    with pytest.raises(ValueError, match="ddp only"):
        method("swin", sizes=sizes, compute={**COMPUTE, "parallel": "fsdp"})
