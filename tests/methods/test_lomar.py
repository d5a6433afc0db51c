"""LoMaR: equal to the reference numbers, and the invariants of its sheet."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from given import Given
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mimflow.backbones import relative
from mimflow.backbones.vit import fuse_attention
from mimflow.draw import Draw
from mimflow.methods.lomar import LoMaR, build, target_of
from mimflow.params.fields import Pixels
from mimflow.params.lomar import LoMaRParams
from mimflow.params.read import read_yaml
from mimflow.targets.hog import hog
from mimflow.targets.pixels import patchify, standardise
from mimflow.tokens import mask_of, take
from mimflow.train.clock import Clock

ROOT = Path(__file__).parents[2]
CLOCK = Clock(0, 10, 0.0, 1.0)
RUNS = read_yaml(ROOT / "presets/zoo.yaml")["runs"]
HOG = {"kind": "hog", "bins": 9, "cell": 2, "window": None, "normalise": True}


def built(**changes: Any) -> LoMaR:
    """The zoo's run on a grid of 16 x 16 patches, the article's windows: 4 of 7 x 7."""
    torch.manual_seed(0)
    values = dict(RUNS["lomar"])
    encoder = {**values["encoder"], "patch_size": 2, **changes.pop("encoder", {})}
    shape = {"window": 7, "num_windows": 4}
    lomar = build(LoMaRParams.model_validate({**values, **shape, "encoder": encoder, **changes}))
    for part in lomar.modules():
        if isinstance(part, relative.RelativeAttention):  # as after some training
            nn.init.normal_(part.table, std=0.5)
    return lomar


@pytest.fixture(params=["relative", "vit"])
def lomar(request: pytest.FixtureRequest) -> LoMaR:
    return built(encoder={"kind": request.param})


def images(count: int = 4, size: int = 32) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def draw_of(count: int = 4, step: int = 0) -> Draw:
    return Draw(torch.arange(count), "test", step)


def golden_method(golden: Any, norm: bool) -> LoMaR:
    c = golden.facts["config"]
    sizes = {k: c[k] for k in ("img_size", "patch_size", "embed_dim", "depth", "num_heads")}
    encoder = relative.build_relative(
        "vit_tiny_patch16_224", {**sizes, "num_classes": 0, "global_pool": "token"}
    )
    target = target_of(c["patch_size"], Pixels(kind="pixels", norm_pixels=norm))
    shape = c["window_size"], c["num_window"], c["mask_ratio"], "reference"
    lomar = LoMaR(encoder, relative.replace, target, *shape)
    state = {k: x for k, x in golden.group("state").items() if k != "pos_embed"}  # never used there
    lomar.load_state_dict({own_name(k): own_shape(k, x) for k, x in state.items()})
    return lomar


def own_name(reference: str) -> str:
    name = reference.replace("rpe_k.lookup_table_weight", "table")
    if name == "mask_token":
        return name
    return name.replace("encoder_pred", "head") if "pred" in name else "encoder." + name


def own_shape(reference: str, x: Tensor) -> Tensor:
    return x[0] if reference.endswith("lookup_table_weight") else x


def golden_draw(golden: Any) -> Given:
    """Corners as noise whose smallest values stand at the reference's rows and columns."""
    c = golden.facts["config"]
    free = c["img_size"] // c["patch_size"] - c["window_size"] + 1
    corners = {axis: torch.ones(1, free) for axis in ("top", "left")}
    for axis, noise in corners.items():
        noise[0, golden[f"in.window_{axis}"]] = torch.arange(c["num_window"]) / 10
    return Given(mask=golden["in.noise"].flatten(1), **corners)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours.detach(), theirs, rtol=1e-4, atol=1e-5)


def test_windows_and_masks_equal_the_reference(golden: Any) -> None:
    reference = golden("lomar")
    image, places, hidden = golden_method(reference, True).windows(golden_draw(reference), 3)
    assert torch.equal(image, reference["rows.image"])
    assert torch.equal(places, reference["rows.patch_ids"])
    assert torch.equal(mask_of(hidden, 16), reference["rows.mask"])


@pytest.mark.parametrize("side", [4, 7, 14])
def test_bucket_tables_equal_the_reference(golden: Any, side: int) -> None:
    theirs = golden("lomar")[f"irpe.bucket_ids_{side}x{side}"]
    assert torch.equal(relative.bucket_ids(side), theirs.long())


def test_the_relative_term_equals_the_reference(golden: Any) -> None:
    reference = golden("lomar")
    table = golden_method(reference, True).encoder.blocks[0].attn.table
    ours = relative.relative_term(reference["irpe.q"], table, relative.bucket_ids(4))
    close(ours, reference["irpe.bias"])


@pytest.mark.parametrize("fused", [True, False])
def test_predictions_targets_and_errors_equal_the_reference(golden: Any, fused: bool) -> None:
    reference = golden("lomar")
    lomar = golden_method(reference, True)
    fuse_attention(lomar, torch.device("cuda" if fused else "cpu"), backward=True)
    image, places, hidden = lomar.windows(golden_draw(reference), 3)
    target = lomar.target.of(reference["in.imgs"])[image[:, None], places]
    prediction = reference["out.pred"]
    close((prediction - target).square().mean(-1), reference["out.loss_per_patch_norm_pix"])
    cut = patchify(reference["in.imgs"], 8)[image[:, None], places]
    close(lomar.predict(cut, places, hidden), take(prediction, hidden))


@pytest.mark.parametrize(("norm", "key"), [(True, "loss_norm_pix"), (False, "loss_raw_pix")])
def test_losses_equal_the_reference(golden: Any, norm: bool, key: str) -> None:
    reference = golden("lomar")
    lomar = golden_method(reference, norm)
    out = lomar({"image": reference["in.imgs"]}, golden_draw(reference), CLOCK)
    torch.testing.assert_close(out["loss"].detach(), reference[key], rtol=1e-5, atol=0)


def test_gradients_equal_the_reference(golden: Any) -> None:
    reference = golden("lomar")
    lomar = golden_method(reference, True)
    lomar({"image": reference["in.imgs"]}, golden_draw(reference), CLOCK)["loss"].backward()
    ours = {k: p.grad for k, p in lomar.named_parameters()}
    norms = reference.facts["grad_norm_pix_norms"]
    assert {own_name(k) for k in norms} == set(ours)
    for key, norm in norms.items():
        assert ours[own_name(key)].norm().item() == pytest.approx(norm, rel=1e-3)
    for key, theirs in reference.group("grad_norm_pix").items():
        largest = theirs.abs().max().item()
        gradient = own_shape(key, theirs)
        torch.testing.assert_close(ours[own_name(key)], gradient, rtol=1e-3, atol=1e-5 * largest)


@pytest.mark.parametrize("pairing", ["per_image", "own_corners", "reference"])
def test_a_window_is_a_square_of_the_grid_with_an_exact_count_of_hidden_patches(
    pairing: str,
) -> None:
    _, places, hidden = built(pairing=pairing).windows(draw_of(16), 16)
    assert places.shape == (64, 49) and hidden.shape == (64, 39)
    row, column = places // 16, places % 16
    assert (places.diff() > 0).all() and places.min() >= 0 and places.max() < 256
    assert (row[:, -1] - row[:, 0] == 6).all() and (column.amax(1) - column.amin(1) == 6).all()
    assert (hidden.diff() > 0).all() and hidden.max() < 49
    assert len({tuple(h) for h in hidden.tolist()}) == 64


@pytest.mark.parametrize("count", [4, 5, 6, 16])
def test_an_image_is_cut_at_different_places_but_not_with_the_references_pairing(
    count: int,
) -> None:
    expected = {"per_image": 4, "own_corners": 4, "reference": 4 // math.gcd(count, 4)}
    for pairing, number in expected.items():
        image, places, _ = built(pairing=pairing).windows(draw_of(count), count)
        assert torch.equal(image.bincount(), torch.full((count,), 4))
        for one in range(count):
            assert len({*places[image == one, 0].tolist()}) == number, pairing


def test_corners_are_the_batches_or_each_images_own() -> None:
    _, shared, _ = built(pairing="per_image").windows(draw_of(8), 8)
    assert (shared.view(8, 4, 49) == shared[:4]).all()
    _, own, _ = built(pairing="own_corners").windows(draw_of(8), 8)
    assert len({tuple(w) for w in own.view(8, -1).tolist()}) == 8
    _, later, _ = built(pairing="per_image").windows(draw_of(8, step=1), 8)
    assert not torch.equal(shared, later)
    for places in (shared, own):  # no two windows of an image share a row or a column
        first = places.view(8, 4, 49)[..., 0]
        for axis in (first // 16, first % 16):
            assert all(len({*image}) == 4 for image in axis.tolist())


def test_a_micro_batch_is_cut_like_the_whole_batch() -> None:
    for pairing in ("per_image", "own_corners"):
        lomar = built(pairing=pairing)
        whole = lomar.windows(draw_of(8), 8)
        part = lomar.windows(Draw(torch.arange(4, 8), "test", 0), 4)
        for ours, theirs in zip(part[1:], whole[1:], strict=True):
            assert torch.equal(ours, theirs[16:])


def test_nothing_outside_a_window_and_nothing_hidden_reaches_its_predictions(lomar: LoMaR) -> None:
    image, places, hidden = lomar.windows(draw_of(), 4)
    patches = patchify(images(), 2)
    own = patches[image[:, None], places]  # (R, K, P)
    ours = lomar.predict(own, places, hidden)
    for row in range(0, 16, 5):
        noise = torch.randn(256, 12)
        kept = torch.ones(49, dtype=torch.bool).scatter_(0, hidden[row], False)
        seen = places[row][kept]
        noise[seen] = patches[image[row], seen]
        cut = own.clone()  # a product's bits may depend on its size: all windows again
        cut[row] = noise[places[row]]
        assert torch.equal(lomar.predict(cut, places, hidden), ours)
        cut[row, kept.nonzero()[0]] += 1.0  # one visible patch
        assert not torch.equal(lomar.predict(cut, places, hidden)[row], ours[row])


def test_the_whole_forward_pass_does_not_see_hidden_pixels(lomar: LoMaR) -> None:
    _, places, hidden = lomar.windows(draw_of(1), 1)
    seen = torch.zeros(256, dtype=torch.bool)
    visible = ~mask_of(hidden, 49)
    seen[places[visible]] = True
    latents: list[Tensor] = []
    lomar.encoder.norm.register_forward_hook(lambda module, inputs, out: latents.append(out))
    other = torch.where(seen[None, :, None], patchify(images(1), 2), torch.randn(1, 256, 12))
    for patches in (patchify(images(1), 2), other):
        x = patches.view(1, 16, 16, 2, 2, 3).permute(0, 5, 1, 3, 2, 4).reshape(1, 3, 32, 32)
        lomar({"image": x}, draw_of(1), CLOCK)
    assert torch.equal(latents[0], latents[1])


def test_targets_are_maes_at_the_same_places(lomar: LoMaR) -> None:
    image, places, hidden = lomar.windows(draw_of(), 4)
    at = places.gather(1, hidden)
    ours = lomar.target.of(images())[image[:, None], at]
    assert torch.equal(ours, standardise(patchify(images(), 2)[image[:, None], at]))


def test_another_target_is_gathered_at_the_same_places() -> None:
    lomar = built(target=HOG, encoder={"patch_size": 4}, window=4)
    assert lomar.head.out_features == 3 * 9 * 4
    cells = hog(images(), 9, 2, None, True)  # (B, 27, 16, 16)
    image, places, hidden = lomar.windows(draw_of(), 4)
    at = places.gather(1, hidden)
    expected = torch.stack(
        [
            cells[i, :, 2 * (n // 8) : 2 * (n // 8) + 2, 2 * (n % 8) : 2 * (n % 8) + 2].flatten()
            for i, row in zip(image.tolist(), at.tolist(), strict=True)
            for n in row
        ]
    ).view(*at.shape, -1)
    assert torch.equal(lomar.target.of(images())[image[:, None], at], expected)
    nn.init.zeros_(lomar.head.weight)
    nn.init.zeros_(lomar.head.bias)
    loss = lomar({"image": images()}, draw_of(), CLOCK)["loss"]
    torch.testing.assert_close(loss, expected.square().mean())
    assert list(lomar.pictures({"image": images()}, draw_of(), CLOCK)) == ["input", "masked"]


def test_one_window_of_the_whole_grid_is_simmims_vit(lomar: LoMaR) -> None:
    lomar.window, lomar.num_windows, lomar.num_hidden = 16, 1, 204
    image, places, hidden = lomar.windows(draw_of(), 4)
    assert torch.equal(places, torch.arange(256).expand(4, -1)) and image.tolist() == [0, 1, 2, 3]
    x, mask = lomar.encoder.patch_embed(images()), mask_of(hidden, 256)
    z = lomar.replace(lomar.encoder, x, mask, lomar.mask_token)
    error = (lomar.head(z[:, 1:]) - standardise(patchify(images(), 2))).square().mean(-1)
    loss = lomar({"image": images()}, draw_of(), CLOCK)["loss"]
    torch.testing.assert_close(loss, (error * mask).sum() / mask.sum())


def test_without_a_mask_the_relative_encoder_gives_its_features() -> None:
    lomar = built()
    x = lomar.encoder.patch_embed(images())
    none = torch.zeros(4, 256, dtype=torch.bool)
    ours = relative.replace(lomar.encoder, x, none, lomar.mask_token)
    assert torch.equal(ours, lomar.encoder.forward_features(images()))


def test_moving_image_and_window_together_changes_nothing_without_absolute_positions() -> None:
    for kind, same in (("relative", True), ("vit", False)):
        lomar = built(encoder={"kind": kind})
        _, places, hidden = lomar.windows(draw_of(), 4)
        cut = patchify(images(), 2)[:, :49].repeat_interleave(4, 0)
        ours, moved = (lomar.predict(cut, places + by, hidden) for by in (0, -int(places.min())))
        assert torch.equal(ours, moved) is same


def test_a_table_of_zeros_is_plain_attention() -> None:
    lomar = built()
    attention = lomar.encoder.blocks[0].attn
    nn.init.zeros_(attention.table)
    x = torch.randn(3, 50, 32)
    q, k, v = attention.qkv(x).view(3, 50, 3, 2, 16).permute(2, 0, 3, 1, 4)
    plain = ((q @ k.mT) / 4).softmax(-1) @ v
    expected = attention.proj(plain.transpose(1, 2).reshape(3, 50, 32))
    for fused in (True, False):
        attention.fused_attn = fused
        torch.testing.assert_close(attention(x, relative.bucket_ids(7)), expected)


def test_the_loss_is_the_mean_of_the_windows_losses(lomar: LoMaR) -> None:
    image, places, hidden = lomar.windows(draw_of(), 4)
    whole = lomar({"image": images()}, draw_of(), CLOCK)["loss"]
    target = lomar.target.of(images())
    singles = []
    for window in (3, 1, 0, 2):
        rows = torch.arange(16).view(4, 4)[:, window]
        cut = patchify(images(), 2)[image[rows, None], places[rows]]
        goal = target[image[rows, None], places[rows].gather(1, hidden[rows])]
        error = lomar.predict(cut, places[rows], hidden[rows]) - goal
        singles.append(error.square().mean())
    torch.testing.assert_close(whole, torch.stack(singles).mean())


def test_the_cost_of_the_encoder_does_not_depend_on_the_size_of_the_image() -> None:
    costs = []
    for size in (32, 64):
        lomar = built(encoder={"img_size": size})
        with FlopCounterMode(display=False) as counter:
            lomar({"image": images(2, size)}, draw_of(2), CLOCK)
        costs.append(counter.get_total_flops())
    assert costs[0] == costs[1]


def test_the_first_table_is_zero_and_is_trained_and_decayed() -> None:
    values = dict(RUNS["lomar"])
    lomar = build(LoMaRParams.model_validate(values))
    tables = {k: p for k, p in lomar.named_parameters() if k.endswith("table")}
    assert len(tables) == 2
    assert all((p == 0).all() and p.ndim == 2 for p in tables.values())  # vectors have one
    lomar({"image": images()}, draw_of(), CLOCK)["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tables.values())


def test_half_precision_does_not_overflow_in_the_relative_term() -> None:
    lomar = built()
    attention = lomar.encoder.blocks[0].attn
    attention.qkv.weight.data.mul_(300)
    x = torch.randn(2, 50, 32)
    with torch.autocast("cpu", torch.float16):
        assert attention(x, relative.bucket_ids(7)).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 13, "num_windows": 5}, "a window of 13 patches has 4 places along a side"),
        ({"window": 17, "num_windows": 1}, "a window of 17 patches has 0 places"),
        ({"target": {**HOG, "cell": 4}}, r"target\.cell 4 does not divide a patch of 2"),
        ({"mask_ratio": 0.01}, "mask_ratio 0.01 hides no patch of 49"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(**changes)


@pytest.mark.parametrize(("k", "ratio", "count"), [(7, 0.8, 39), (5, 0.8, 20), (10, 0.7, 70)])
def test_the_count_of_hidden_patches_is_rounded_down(k: int, ratio: float, count: int) -> None:
    lomar = built(window=k, mask_ratio=ratio)
    assert lomar.num_hidden == count


def test_what_is_reported_is_what_was_hidden(lomar: LoMaR) -> None:
    out = lomar({"image": images()}, draw_of(), CLOCK)
    assert out["mask_ratio"].item() == pytest.approx(39 / 49)
    assert out["target_mean"].abs() < 1e-5
    assert out["target_std"].item() == pytest.approx(math.sqrt(11 / 12), rel=1e-3)  # P - 1 of P


def test_pictures_show_the_windows_and_their_hidden_part_rebuilt(lomar: LoMaR) -> None:
    shown = {
        k: patchify(x, 2) for k, x in lomar.pictures({"image": images()}, draw_of(), CLOCK).items()
    }
    assert list(shown) == ["input", "masked", "rebuilt"]
    assert torch.equal(shown["input"], patchify(images(), 2))
    image, places, hidden = lomar.windows(draw_of(), 4)
    inside = torch.zeros(4, 256, dtype=torch.bool)
    inside[image[:, None], places] = True
    never = inside.clone()
    never[image[:, None], places.gather(1, hidden)] = False
    assert (shown["masked"][~inside] == 0).all()
    for name in ("masked", "rebuilt"):
        assert torch.equal(shown[name][never], shown["input"][never])
    assert (shown["masked"][inside & ~never] == 0).all()
    assert (shown["rebuilt"][inside & ~never] != 0).any()


def test_a_plain_vit_takes_its_positions_from_the_grid() -> None:
    lomar = built(encoder={"kind": "vit"})
    seen: list[Tensor] = []
    lomar.encoder.blocks[0].register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    _, places, hidden = lomar.windows(draw_of(), 4)
    nn.init.zeros_(lomar.mask_token)
    cut = patchify(images(), 2).repeat_interleave(4, 0)[:, :49]
    lomar.predict(cut, places, hidden)
    position = lomar.encoder.pos_embed[0, 1:]
    at = position[places].gather(1, hidden[..., None].expand(-1, -1, 32))
    assert torch.equal(take(seen[0][:, 1:], hidden), at)
