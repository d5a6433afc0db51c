"""BEiT: equal to the reference numbers, and the invariants of its sheet."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from made import tokenizer_of
from torch import Tensor, nn

from mimflow.backbones.beit import build_beit, replace
from mimflow.draw import Draw
from mimflow.methods.beit import BEiT, build, views, word_loss
from mimflow.params.beit import BEiTParams
from mimflow.params.read import read_yaml
from mimflow.train.clock import Clock

ROOT = Path(__file__).parents[2]
CLOCK = Clock(0, 10, 0.0, 1.0)
RUNS = read_yaml(ROOT / "presets/zoo.yaml")["taught"]
NOT_OURS = "relative_position_index"  # a table that timm computes


def golden_encoder(c: dict[str, Any], **more: Any) -> Any:
    sizes = {k: c[k] for k in ("img_size", "patch_size", "embed_dim", "depth", "num_heads")}
    flags = ("init_values", "use_abs_pos_emb", "use_shared_rel_pos_bias", "use_rel_pos_bias")
    how = {"num_classes": 0, "global_pool": "token", **more}
    return {**sizes, **{k: c[k] for k in flags}, **how}


def golden_method(golden: Any) -> BEiT:
    c = golden.facts["config"]
    encoder = build_beit("beit_base_patch16_224", golden_encoder(c))
    tokenizer = tokenizer_of(c["vocab_size"], 32, 8)
    method = BEiT(encoder, tokenizer, 7, 32, None)
    state = golden.group("state")
    ours = {own_name(k): x for k, x in state.items() if not k.endswith(NOT_OURS)}
    kept = {f"tokenizer.{k}": x for k, x in tokenizer.state_dict().items()}
    method.load_state_dict({**ours, **kept})
    return method


def own_name(reference: str) -> str:
    if reference == "mask_token":
        return reference
    if reference.startswith("lm_head"):
        return reference.replace("lm_head", "head")
    return f"encoder.{reference}"


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours.detach(), theirs, rtol=1e-4, atol=1e-5)


CASES = ["beit", "beit_abs_perblock"]


@pytest.mark.parametrize("name", CASES)
def test_features_logits_and_loss_equal_the_reference(golden: Any, name: str) -> None:
    reference = golden(name)
    method, mask, words = golden_method(reference), reference["in.mask"], reference["in.token_ids"]
    [latent] = method.latents(reference["in.imgs"], mask)
    close(latent, reference["out.features"])
    logits = method.head(latent[:, 1:])
    close(logits, reference["out.logits_all"])
    close(logits[mask], reference["out.logits_masked"])
    loss = word_loss(logits, words, mask)
    torch.testing.assert_close(loss.detach(), reference["loss"], rtol=1e-5, atol=0)
    right = ((logits.argmax(-1) == words) & mask).sum() / mask.sum()
    torch.testing.assert_close(right, reference["accuracy"])


@pytest.mark.parametrize("name", CASES)
def test_the_forward_pass_has_the_loss_and_gradients_of_the_reference(
    golden: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = golden(name)
    method, mask = golden_method(reference), reference["in.mask"]
    monkeypatch.setattr(method.tokenizer, "codes", lambda images: reference["in.token_ids"])
    batch = {
        "image": reference["in.imgs"],
        "mask": mask,
        "tokens": torch.zeros(2, 32 * 32, 3, dtype=torch.uint8),
        "image.flip": torch.zeros(2, dtype=torch.bool),
    }
    out = method(batch, Draw(torch.arange(2), "test"), CLOCK)
    torch.testing.assert_close(out["loss"].detach(), reference["loss"], rtol=1e-5, atol=0)
    torch.testing.assert_close(out["accuracy"], reference["accuracy"])
    assert out["count"] == mask.sum() == 12
    out["loss"].backward()
    ours = {k: p.grad for k, p in method.named_parameters() if p.requires_grad}
    norms = reference.facts["grad_norms"]
    assert {own_name(k) for k in norms} == set(ours)
    for key, norm in norms.items():
        assert ours[own_name(key)].norm().item() == pytest.approx(norm, rel=1e-3)  # type: ignore[union-attr]
    for key, gradient in reference.group("grad").items():
        largest = gradient.abs().max().item()
        torch.testing.assert_close(ours[own_name(key)], gradient, rtol=1e-3, atol=1e-5 * largest)


def test_the_relative_positions_are_the_references(golden: Any) -> None:
    reference = golden("beit")
    encoder: Any = golden_method(reference).encoder
    index = encoder.rel_pos_bias.relative_position_index
    assert torch.equal(index, reference["out.relative_position_index"])
    close(encoder.rel_pos_bias(), reference["out.relative_position_bias"])


def test_the_fine_tuning_model_equals_the_reference(golden: Any) -> None:
    reference = golden("beit_finetune")
    c = reference.facts["config"]
    kwargs = golden_encoder(c, num_classes=c["num_classes"], global_pool="avg")
    model: Any = timm.create_model("beit_base_patch16_224", **kwargs)
    state = reference.group("state")
    model.load_state_dict({k: x for k, x in state.items() if not k.endswith(NOT_OURS)})
    x = model.forward_features(reference["in.imgs"])
    assert isinstance(model.norm, nn.Identity)  # the norm comes after the mean
    close(model.forward_head(x, pre_logits=True), reference["out.features"])
    logits = model(reference["in.imgs"])
    close(logits, reference["out.logits"])
    loss = nn.functional.cross_entropy(logits, reference["in.labels"])
    torch.testing.assert_close(loss.detach(), reference["loss"], rtol=1e-5, atol=0)
    loss.backward()
    ours = {k: p.grad for k, p in model.named_parameters()}
    for key, norm in reference.facts["grad_norms"].items():
        assert ours[key].norm().item() == pytest.approx(norm, rel=1e-3)
    for key, gradient in reference.group("grad").items():
        largest = gradient.abs().max().item()
        torch.testing.assert_close(ours[key], gradient, rtol=1e-3, atol=1e-5 * largest)


def params_of(name: str, folder: Path, **changes: Any) -> BEiTParams:
    return BEiTParams.model_validate(
        {
            **RUNS[name],
            "needs": str(folder / "tokenizers" / name / "weights.safetensors"),
            **changes,
        }
    )


def built(name: str, folder: Path, codes: int = 64, **changes: Any) -> BEiT:
    tokenizer_of(codes, 32, 4, folder / "tokenizers" / name)
    torch.manual_seed(0)
    return build(params_of(name, folder, **changes))


def batch_of(method: BEiT, count: int = 8, **changes: Any) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, 32 * 32, 3), generator=generator, dtype=torch.uint8)
    mask = torch.rand(count, 64, generator=generator).argsort(1) < 20
    mask[0, :40] = False  # images hide different numbers of patches
    images = pixels.unflatten(1, (32, 32)).permute(0, 3, 1, 2).float() / 128 - 1
    flip = torch.zeros(count, dtype=torch.bool)
    return {"image": images, "tokens": pixels, "image.flip": flip, "mask": mask, **changes}


def run(method: BEiT, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return method(batch, Draw(torch.arange(len(batch["image"])), "test"), CLOCK)


@pytest.fixture(params=["beit", "beit2"])
def method(request: pytest.FixtureRequest, tmp_path: Path) -> BEiT:
    return built(request.param, tmp_path)


def test_hidden_pixels_do_not_reach_the_logits(method: BEiT) -> None:
    batch = batch_of(method)
    where = batch["mask"].view(-1, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    other = torch.where(where, torch.randn(8, 3, 32, 32), batch["image"])
    pairs = zip(
        method.eval().latents(batch["image"], batch["mask"]),
        method.latents(other, batch["mask"]),
        strict=True,
    )
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_loss_is_that_of_all_tokens_with_the_visible_ones_ignored(tmp_path: Path) -> None:
    method = built("beit", tmp_path)
    batch = batch_of(method)
    method.eval()
    [latent] = method.latents(batch["image"], batch["mask"])
    logits = method.head(latent[:, 1:])
    words = torch.where(batch["mask"], codes(method, batch), -1)
    whole = nn.functional.cross_entropy(logits.flatten(0, 1), words.flatten(), ignore_index=-1)
    torch.testing.assert_close(run(method, batch)["loss"], whole)


def codes(method: BEiT, batch: dict[str, Tensor]) -> Tensor:
    images = batch["tokens"].unflatten(1, (32, 32)).permute(0, 3, 1, 2).float() / 255
    return method.tokenizer.codes(images)


def test_logits_of_visible_tokens_take_no_gradient(tmp_path: Path) -> None:
    method = built("beit", tmp_path)
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, out: Tensor) -> None:
        out.retain_grad()
        seen.append(out)

    method.encoder.norm.register_forward_hook(keep)
    batch = batch_of(method)
    run(method, batch)["loss"].backward()
    gradient = seen[0].grad
    assert gradient is not None
    touched = gradient[:, 1:].abs().sum(-1) > 0
    assert torch.equal(touched, batch["mask"])


def test_equal_logits_give_the_logarithm_of_the_number_of_words() -> None:
    loss = word_loss(torch.zeros(2, 5, 64), torch.arange(10).view(2, 5), torch.ones(2, 5).bool())
    assert loss.item() == pytest.approx(math.log(64), rel=1e-6)


def test_the_tokenizer_is_frozen_in_evaluation_and_gives_the_same_words_twice(
    method: BEiT,
) -> None:
    before = {k: x.clone() for k, x in method.tokenizer.state_dict().items()}
    batch = batch_of(method)
    first = codes(method, batch)
    method.train()
    assert not any(part.training for part in method.tokenizer.modules())
    assert not any(p.requires_grad for p in method.tokenizer.parameters())
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.1)
    run(method, batch)["loss"].backward()
    optimiser.step()
    assert torch.equal(codes(method, batch), first)
    assert first.min() >= 0 and first.max() < 64 and first.shape == (8, 64)
    state = method.tokenizer.state_dict()
    assert all(torch.equal(x, state[k]) for k, x in before.items())


def test_without_a_mask_the_features_are_those_of_the_fine_tuning_model(tmp_path: Path) -> None:
    method = built("beit", tmp_path).eval()
    with torch.no_grad():
        method.encoder.rel_pos_bias.relative_position_bias_table.normal_()  # type: ignore[union-attr]
    kwargs = {**params_of("beit", tmp_path).encoder.timm(), "use_shared_rel_pos_bias": False}
    other: Any = timm.create_model(
        "beit_base_patch16_224", **{**kwargs, "use_rel_pos_bias": True}
    ).eval()
    state = dict(method.encoder.state_dict())
    table = state.pop("rel_pos_bias.relative_position_bias_table")
    tables = {f"blocks.{i}.attn.relative_position_bias_table": table for i in range(2)}
    other.load_state_dict({**state, **tables})
    images = batch_of(method)["image"]
    [ours] = method.latents(images, torch.zeros(8, 64, dtype=torch.bool))
    torch.testing.assert_close(ours, other.forward_features(images), rtol=0, atol=1e-5)


def test_a_branch_of_no_blocks_after_the_last_one_is_the_first_branch(tmp_path: Path) -> None:
    method = built("beit2", tmp_path, branch={"layer": 2, "depth": 0}).eval()
    batch = batch_of(method)
    first, second = method.latents(batch["image"], batch["mask"])
    assert torch.equal(first, second)
    [alone] = [word_loss(method.head(first[:, 1:]), codes(method, batch), batch["mask"])]
    torch.testing.assert_close(run(method, batch)["loss"], 2 * alone)


def test_the_branch_sees_the_last_layers_through_the_class_token_alone(tmp_path: Path) -> None:
    method = built("beit2", tmp_path).eval()
    batch = batch_of(method)
    assert method.branch is not None and method.branch.layer == 1
    last = torch.randn(8, 65, 32)
    other = torch.cat([last[:, :1], torch.randn(8, 64, 32)], 1)
    states = torch.randn(8, 65, 32)
    ours = method.branch(method.encoder, last, states)  # type: ignore[arg-type]
    assert torch.equal(ours, method.branch(method.encoder, other, states))  # type: ignore[arg-type]
    changed = torch.cat([torch.randn(8, 1, 32), states[:, 1:]], 1)
    assert torch.equal(ours, method.branch(method.encoder, last, changed))  # type: ignore[arg-type]
    assert len(method.latents(batch["image"], batch["mask"])) == 2


def test_the_branchs_blocks_are_numbered_on(tmp_path: Path) -> None:
    encoder = {**RUNS["beit2"]["encoder"], "depth": 4, "drop_path": 0.3}
    branch = built("beit2", tmp_path, encoder=encoder, branch={"layer": 3, "depth": 2}).branch
    assert branch is not None
    for number, block in enumerate(branch.blocks, start=4):
        bound = 0.02 / math.sqrt(2 * number)
        for weight in (block.attn.proj.weight, block.mlp.fc2.weight):  # type: ignore[union-attr]
            assert 0.9 * bound < weight.abs().max() <= bound  # type: ignore[operator]
        assert block.drop_path1.share == pytest.approx(0.3 * (number - 1) / 4)  # type: ignore[union-attr]


def test_one_word_is_learned_fast_and_drawn_words_are_not(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(0, 64, (40, 32, 64), generator=generator)  # others in every step

    def trained(words: Tensor) -> float:
        method = built("beit", tmp_path)
        batch = batch_of(method, 32)
        optimiser = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 3e-3)
        for step in words:
            method.tokenizer.codes = lambda images, step=step: step  # type: ignore[method-assign]
            optimiser.zero_grad()
            loss = run(method, batch)["loss"]
            loss.backward()
            optimiser.step()
        return float(loss.detach())

    assert trained(torch.full_like(drawn, 7)) < 0.25 * math.log(64)
    assert trained(drawn) > math.log(64) - 0.1


def test_another_tokenizer_changes_neither_first_weights_nor_masks(tmp_path: Path) -> None:
    one = built("beit", tmp_path / "a")
    torch.manual_seed(0)
    tokenizer_of(64, 32, 4, tmp_path / "b/tokenizers/beit", seed=5, width=24)
    torch.manual_seed(0)
    other = build(params_of("beit", tmp_path / "b"))
    mine, theirs = one.state_dict(), other.state_dict()
    kept = [k for k in mine if not k.startswith("tokenizer.")]
    assert all(torch.equal(mine[k], theirs[k]) for k in kept)


def test_views_hold_one_crop_twice_and_its_mask() -> None:
    import numpy as np

    params = BEiTParams.model_validate({**RUNS["beit"], "jitter": 0.0})
    images = np.random.default_rng(0).integers(0, 256, (16, 40, 40, 3), dtype=np.uint8)
    out = views(params)(images, Draw(np.arange(16), "views", 0), 0)
    assert out["image"].shape == (16, 32, 32, 3) and out["mask"].shape == (16, 64)
    assert np.array_equal(out["tokens"].reshape(16, 32, 32, 3), out["image"])
    assert (out["mask"].sum(1) <= 25).all() and (out["mask"].sum(1) > 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": {"size": 16, "filter": "bicubic"}}, "gives 4 x 4 codes, but the encoder has 8"),
        ({"mask": {**RUNS["beit"]["mask"], "hidden": 65}}, "hidden 65 is more than 64 patches"),
        ({"branch": {"layer": 3, "depth": 1}}, "layer 3 is more than encoder.depth 2"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        built("beit", tmp_path, **changes)


def test_pictures_show_what_is_seen_and_a_colour_for_each_word(method: BEiT) -> None:
    batch = batch_of(method)
    shown = method.eval().pictures(batch, Draw(torch.arange(8), "x"), CLOCK)
    assert list(shown) == ["input", "masked", "words", "predicted"]
    visible = ~batch["mask"].view(-1, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    visible = visible.expand(-1, 3, -1, -1)
    assert torch.equal(shown["words"][visible], shown["predicted"][visible])
    assert (shown["masked"][~visible] == 0).all()


def test_the_mask_token_stands_in_where_replace_puts_it(tmp_path: Path) -> None:
    method = built("beit", tmp_path).eval()
    batch = batch_of(method)
    x = method.encoder.patch_embed(batch["image"])
    plain = replace(method.encoder, x, batch["mask"], method.mask_token)
    assert torch.equal(method.latents(batch["image"], batch["mask"])[0], plain)
