"""MAE: equal to the reference numbers, and the invariants of its sheet."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mimflow.backbones.vit import build_vit, encode
from mimflow.decoders.transformer import TransformerDecoder
from mimflow.draw import Draw
from mimflow.masks.random import num_visible, random_mask
from mimflow.methods.mae import MAE, build
from mimflow.params.mae import MAEParams
from mimflow.targets.pixels import patchify, standardise
from mimflow.tokens import mask_of, put, take
from mimflow.train.clock import Clock

CLOCK = Clock(0, 10, 0.0, 1.0)


class Noise(Draw):
    """A draw that gives the noise it was built with."""

    def __init__(self, noise: Tensor):
        self.noise = noise

    def uniform(self, name: str, count: int) -> Any:
        assert (name, count) == ("mask", self.noise.shape[1])
        return self.noise


def build_golden(golden: Any, norm_pixels: bool, tables: str = "state") -> MAE:
    c = golden.facts["config"]
    sizes = {k: c[k] for k in ("img_size", "patch_size", "embed_dim", "depth", "num_heads")}
    encoder = build_vit("vit_tiny_patch16_224", {**sizes, "num_classes": 0, "global_pool": "token"})
    width = c["decoder_embed_dim"]
    decoder = TransformerDecoder(
        c["embed_dim"],
        width,
        c["decoder_depth"],
        c["decoder_num_heads"],
        encoder.patch_embed.grid_size,
    )
    head = nn.Linear(width, 3 * c["patch_size"] ** 2)
    mae = MAE(encoder, decoder, head, c["mask_ratio"], norm_pixels)
    mae.load_state_dict({own_name(k): x for k, x in golden.group("state").items()})
    if tables != "state":
        encoder.pos_embed.data.copy_(golden[f"{tables}.pos_embed"])
        decoder.position.copy_(golden[f"{tables}.decoder_pos_embed"])
    return mae


def own_name(reference: str) -> str:
    for theirs, ours in (
        ("decoder_embed", "decoder.embed"),
        ("decoder_pos_embed", "decoder.position"),
        ("decoder_blocks", "decoder.blocks"),
        ("decoder_norm", "decoder.norm"),
        ("decoder_pred", "head"),
        ("mask_token", "decoder.mask_token"),
    ):
        if reference.startswith(theirs):
            return ours + reference[len(theirs) :]
    return "encoder." + reference


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours.detach(), theirs, rtol=1e-4, atol=1e-5)


def predict(mae: MAE, patches: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
    """Predictions (B, M, P) of the hidden patches."""
    return mae.head(mae.decoder(encode(mae.encoder, patches, visible), visible, hidden))


def test_masks_equal_the_reference(golden: Any) -> None:
    reference = golden("mae")
    visible, hidden = random_mask(reference["in.noise"], num_visible(16, 0.75))
    assert torch.equal(mask_of(hidden, 16), reference["out.mask"].bool())
    assert torch.equal(mask_of(visible, 16), ~reference["out.mask"].bool())


def test_targets_equal_the_reference(golden: Any) -> None:
    reference = golden("mae")
    patches = patchify(reference["in.imgs"], 8)
    assert torch.equal(patches, reference["out.patches"])
    close(standardise(patches), reference["out.target_norm_pix"])


@pytest.mark.parametrize(("tables", "out"), [("state", "out"), ("alt", "alt")])
def test_latents_and_predictions_equal_the_reference(golden: Any, tables: str, out: str) -> None:
    reference = golden("mae")
    mae = build_golden(reference, True, tables)
    patches = patchify(reference["in.imgs"], 8)
    visible, hidden = random_mask(reference["in.noise"], 4)
    latent = encode(mae.encoder, patches, visible)
    theirs = reference[f"{out}.latent"]  # in the order of the noise
    kept = reference["in.noise"].argsort(1)[:, :4].argsort(1)  # rank in raster order -> place there
    raster = torch.cat([theirs[:, :1], take(theirs[:, 1:], kept)], 1)
    close(latent, raster)
    close(predict(mae, patches, visible, hidden), take(reference[f"{out}.pred"], hidden))


@pytest.mark.parametrize(
    ("tables", "norm", "key"),
    [
        ("state", True, "loss_norm_pix"),
        ("state", False, "loss_raw_pix"),
        ("alt", True, "alt.loss_norm_pix"),
    ],
)
def test_losses_equal_the_reference(golden: Any, tables: str, norm: bool, key: str) -> None:
    reference = golden("mae")
    mae = build_golden(reference, norm, tables)
    loss = mae({"image": reference["in.imgs"]}, Noise(reference["in.noise"]), CLOCK)["loss"]
    torch.testing.assert_close(loss.detach(), reference[key], rtol=1e-5, atol=0)


@pytest.mark.parametrize(("norm", "key"), [(True, "norm_pix"), (False, "raw_pix")])
def test_gradients_equal_the_reference(golden: Any, norm: bool, key: str) -> None:
    reference = golden("mae")
    mae = build_golden(reference, norm)
    mae({"image": reference["in.imgs"]}, Noise(reference["in.noise"]), CLOCK)["loss"].backward()
    ours = {name: p.grad for name, p in mae.named_parameters() if p.requires_grad}
    norms = reference.facts[f"grad_{key}_norms"]
    assert {own_name(k) for k in norms} == set(ours)
    for name, norm_ in norms.items():
        assert ours[own_name(name)].norm().item() == pytest.approx(norm_, rel=1e-3)
    for name, gradient in reference.group(f"grad_{key}").items():
        largest = gradient.abs().max().item()
        torch.testing.assert_close(ours[own_name(name)], gradient, rtol=1e-3, atol=1e-5 * largest)


@pytest.fixture
def mae(default_params: Any) -> MAE:
    torch.manual_seed(0)
    return build(MAEParams.model_validate(default_params["runs"]["mae"]))


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def draw_of(count: int = 4) -> Draw:
    return Draw(torch.arange(count), "test")


def test_every_image_hides_exactly_its_share_and_masks_differ(mae: MAE) -> None:
    visible, hidden = random_mask(draw_of(64).uniform("mask", 64), mae.visible)
    assert mae.visible == 16
    assert (mask_of(hidden, 64).sum(1) == 48).all()
    assert torch.equal(
        torch.cat([visible, hidden], 1).sort(1).values, torch.arange(64).expand(64, -1)
    )
    assert len({tuple(row) for row in visible.tolist()}) > 60


@pytest.mark.parametrize(
    ("count", "ratio", "kept"), [(100, 0.8, 20), (100, 0.9, 10), (49, 0.8, 9), (196, 0.75, 49)]
)
def test_the_count_of_visible_patches_is_guarded_against_rounding(
    count: int, ratio: float, kept: int
) -> None:
    assert num_visible(count, ratio) == kept


def test_hidden_pixels_do_not_reach_the_encoder_or_the_prediction(mae: MAE) -> None:
    visible, hidden = random_mask(draw_of().uniform("mask", 64), mae.visible)
    patches = patchify(images(), 4)
    other = put(patches, hidden, torch.randn_like(take(patches, hidden)))
    assert torch.equal(encode(mae.encoder, patches, visible), encode(mae.encoder, other, visible))
    ours = predict(mae, patches, visible, hidden)
    assert torch.equal(ours, predict(mae, other, visible, hidden))
    assert not torch.equal(mae.target(take(patches, hidden)), mae.target(take(other, hidden)))


def test_the_loss_looks_at_hidden_patches_only(mae: MAE) -> None:
    seen: list[Tensor] = []
    mae.head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    mae({"image": images()}, draw_of(), CLOCK)["loss"].backward()
    [tokens] = seen
    assert tokens.shape[:2] == (4, 48)
    assert mae.decoder.mask_token.grad is not None and mae.decoder.mask_token.grad.abs().sum() > 0
    assert not any("mask" in name for name, _ in mae.encoder.named_parameters())


def test_perfect_prediction_has_no_loss_and_zero_prediction_the_share_of_the_variance(
    mae: MAE,
) -> None:
    nn.init.zeros_(mae.head.weight)
    loss = mae({"image": images()}, draw_of(), CLOCK)["loss"]
    _, hidden = random_mask(draw_of().uniform("mask", 64), mae.visible)
    patches = take(patchify(images(), 4), hidden)
    variance = patches.double().var(-1)
    expected = (47 / 48 * variance / (variance + 1e-6)).mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    target = patches[0, 0].clone()
    mae.norm_pixels = False
    mae.head.bias.data.copy_(target)
    flat = target.reshape(4, 4, 3).permute(2, 0, 1).repeat(1, 8, 8)[None].expand(4, -1, -1, -1)
    assert mae({"image": flat}, draw_of(), CLOCK)["loss"].item() == 0


def test_a_latent_does_not_depend_on_the_order_of_the_visible_patches(mae: MAE) -> None:
    visible, _ = random_mask(draw_of().uniform("mask", 64), mae.visible)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))
    patches = patchify(images(), 4)
    straight, shuffled = (
        encode(mae.encoder, patches, visible),
        encode(mae.encoder, patches, visible[:, order]),
    )
    torch.testing.assert_close(straight[:, 1:][:, order], shuffled[:, 1:], rtol=0, atol=1e-5)


def test_without_a_mask_the_encoder_is_the_plain_vit(mae: MAE) -> None:
    everything = torch.arange(64).expand(4, -1)
    plain = mae.encoder.forward_features(images())
    torch.testing.assert_close(
        encode(mae.encoder, patchify(images(), 4), everything), plain, rtol=0, atol=1e-5
    )
    mae.visible = 64
    assert mae({"image": images()}, draw_of(), CLOCK)["loss"].item() == 0


def test_a_plain_timm_classifier_takes_the_encoder_and_misses_only_its_head(mae: MAE) -> None:
    import timm

    kwargs = {"img_size": 32, "patch_size": 4, "embed_dim": 128, "depth": 4, "num_heads": 4}
    headless = timm.create_model(
        "vit_tiny_patch16_224", **kwargs, num_classes=0, global_pool="token"
    )
    assert set(headless.load_state_dict(mae.encoder.state_dict()).missing_keys) == set()
    classifier = timm.create_model(
        "vit_tiny_patch16_224", **kwargs, num_classes=10, global_pool="avg"
    )
    found = classifier.load_state_dict(mae.encoder.state_dict(), strict=False)
    assert {k.split(".")[0] for k in found.missing_keys} == {"head", "fc_norm"}
    assert set(found.unexpected_keys) == {"norm.weight", "norm.bias"}


def test_positions_are_fixed_and_everything_else_is_trained(mae: MAE) -> None:
    before = copy.deepcopy(mae.state_dict())
    optimiser = torch.optim.SGD([p for p in mae.parameters() if p.requires_grad], lr=0.1)
    mae({"image": images()}, draw_of(), CLOCK)["loss"].backward()
    optimiser.step()
    changed = {k for k, x in mae.state_dict().items() if not torch.equal(x, before[k])}
    assert set(before) - changed == {"encoder.pos_embed", "decoder.position"}


def test_the_loss_starts_near_the_variance_of_target_and_prediction(mae: MAE) -> None:
    loss = mae({"image": images(32)}, draw_of(32), CLOCK)["loss"].item()
    _, hidden = random_mask(draw_of(32).uniform("mask", 64), mae.visible)
    visible, _ = random_mask(draw_of(32).uniform("mask", 64), mae.visible)
    prediction = predict(mae, patchify(images(32), 4), visible, hidden)
    assert loss == pytest.approx(47 / 48 + prediction.square().mean().item(), rel=0.05)


def test_pictures_show_the_image_what_is_seen_and_the_hidden_part_rebuilt(mae: MAE) -> None:
    shown = mae.pictures({"image": images()}, draw_of(), CLOCK)
    assert list(shown) == ["input", "masked", "rebuilt"]
    assert torch.equal(shown["input"], images())
    _, hidden = random_mask(draw_of().uniform("mask", 64), mae.visible)
    mask = mask_of(hidden, 64)[..., None].expand(-1, -1, 48)
    for name in ("masked", "rebuilt"):
        assert torch.equal(patchify(shown[name], 4)[~mask], patchify(images(), 4)[~mask])
    assert (patchify(shown["masked"], 4)[mask] == 0).all()
