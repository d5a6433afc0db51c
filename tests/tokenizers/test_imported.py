"""Public tokenizers, with made-up weights of the real names; the real sizes are marked slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, normalize, relu

from mimflow.params.tokenizers import Imported
from mimflow.tokenizers.imported import open_public


def dalle_state(width: int, codes: int) -> dict[str, Tensor]:
    """Tensors of DALL-E's encoder by their public names."""
    generator = torch.Generator().manual_seed(0)
    state = {}

    def conv(name: str, before: int, after: int, side: int) -> None:
        std = (before * side**2) ** -0.5
        shape = (after, before, side, side)
        state[f"{name}.w"] = torch.randn(shape, generator=generator) * std
        state[f"{name}.b"] = torch.randn(after, generator=generator) * 0.1

    conv("blocks.input", 3, width, 7)
    before = width
    for group in range(4):
        for block in range(2):
            name, after = f"blocks.group_{group + 1}.block_{block + 1}", width * 2**group
            inner = after // 4
            if before != after:
                conv(f"{name}.id_path", before, after, 1)
            for number, (a, b) in enumerate([(before, inner), (inner, inner), (inner, inner)]):
                conv(f"{name}.res_path.conv_{number + 1}", a, b, 3)
            conv(f"{name}.res_path.conv_4", inner, after, 1)
            before = after
    conv("blocks.output.conv", before, codes, 1)
    return state


def dalle_logits(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """The sheet's description, written out."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.w"]
        return conv2d(x, weight, state[f"{name}.b"], padding=weight.shape[-1] // 2)

    x = conv("blocks.input", 0.8 * images + 0.1)
    for group in range(4):
        for block in range(2):
            name = f"blocks.group_{group + 1}.block_{block + 1}"
            branch = x
            for number in range(4):
                branch = conv(f"{name}.res_path.conv_{number + 1}", relu(branch))
            straight = conv(f"{name}.id_path", x) if f"{name}.id_path.w" in state else x
            x = straight + branch / 64
        x = max_pool2d(x, 2) if group < 3 else x
    return conv("blocks.output.conv", relu(x))


def beit2_state(
    width: int, depth: int, side: int, patch: int, codes: int, dim: int
) -> dict[str, Tensor]:
    """Tensors of a VQ-KD checkpoint by their public names, decoder and counters among them."""
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.cls_token": (1, 1, width),
        "encoder.pos_embed": (1, 1 + side**2, width),
        "encoder.patch_embed.proj.weight": (width, 3, patch, patch),
        "encoder.patch_embed.proj.bias": (width,),
        "encoder.fc_norm.weight": (width,),
        "encoder.fc_norm.bias": (width,),
        "encode_task_layer.0.weight": (width, width),
        "encode_task_layer.0.bias": (width,),
        "encode_task_layer.2.weight": (dim, width),
        "encode_task_layer.2.bias": (dim,),
        "decode_task_layer.0.weight": (width, width),
        "quantize.embedding.weight": (codes, dim),
        "quantize.embedding.cluster_size": (codes,),
        "decoder.cls_token": (1, 1, width),
    }
    for block in range(depth):
        name = f"encoder.blocks.{block}"
        for norm in ("norm1", "norm2"):
            shapes |= {f"{name}.{norm}.{part}": (width,) for part in ("weight", "bias")}
        shapes |= {f"{name}.attn.{part}": (width,) for part in ("q_bias", "v_bias", "proj.bias")}
        shapes[f"{name}.attn.qkv.weight"] = (3 * width, width)
        shapes[f"{name}.attn.proj.weight"] = (width, width)
        for part, before, after in (("fc1", width, 4 * width), ("fc2", 4 * width, width)):
            shapes[f"{name}.mlp.{part}.weight"] = (after, before)
            shapes[f"{name}.mlp.{part}.bias"] = (after,)
    generator = torch.Generator().manual_seed(0)
    return {k: torch.randn(s, generator=generator) * 0.1 for k, s in shapes.items()}


def params_of(kind: str, path: Path, size: int) -> Imported:
    values: dict[str, Any] = {"kind": kind, "needs": str(path), "img_size": size}
    return Imported.model_validate({**values, "held_images": 10, "threads": 1})


@pytest.mark.parametrize(
    ("width", "codes", "size"),
    [(8, 32, 32), pytest.param(256, 8192, 112, marks=pytest.mark.slow)],
)
def test_dalles_encoder_gives_the_logits_of_the_sheet(
    tmp_path: Path, width: int, codes: int, size: int
) -> None:
    state = dalle_state(width, codes)
    torch.save(state, tmp_path / "encoder.pt")
    tokenizer = open_public(params_of("dalle", tmp_path / "encoder.pt", size))
    side = size // 8
    assert tokenizer.grid == (side, side) and tokenizer.num_codes == codes
    images = torch.rand(2, 3, size, size)
    theirs = dalle_logits(state, images).flatten(2).transpose(1, 2)
    ours = tokenizer.logits(images)
    assert ours.shape == (2, side**2, codes)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    tokenizer.check(size, (side, side))
    tokenizer.check(2 * size, (2 * side, 2 * side))  # convolutions: any size


@pytest.mark.parametrize(
    ("sizes", "size"),
    [
        ((64, 2, 8, 4, 32, 8), 32),
        pytest.param((768, 12, 14, 16, 8192, 32), 224, marks=pytest.mark.slow),
    ],
)
def test_vq_kd_takes_pictures_in_minus_1_to_1_and_the_nearest_code(
    tmp_path: Path, sizes: tuple[int, ...], size: int
) -> None:
    state = beit2_state(*sizes)
    save_file(state, tmp_path / "vqkd.safetensors")
    tokenizer = open_public(params_of("beit2", tmp_path / "vqkd.safetensors", size))
    assert tokenizer.num_codes == sizes[4] and tokenizer.grid == (sizes[2], sizes[2])
    images = torch.rand(2, 3, size, size)
    net: Any = tokenizer.net
    x = net.encoder.forward_features(2 * images - 1)[:, 1:]
    weight = state["encode_task_layer.0.weight"], state["encode_task_layer.2.weight"]
    x = torch.tanh(x @ weight[0].T + state["encode_task_layer.0.bias"])
    x = x @ weight[1].T + state["encode_task_layer.2.bias"]
    book = normalize(state["quantize.embedding.weight"], dim=-1)
    nearest = torch.cdist(normalize(x, dim=-1), book).argmin(-1)
    assert (tokenizer.codes(images) == nearest).float().mean() > 0.99  # ties of rounding
    with pytest.raises(ValueError, match="made for"):
        tokenizer.check(2 * size, (2 * sizes[2], 2 * sizes[2]))


def test_a_file_that_lacks_a_tensor_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    state = dalle_state(8, 32)
    save_file({k: x for k, x in state.items() if "group_2.block_1" not in k}, path)
    with pytest.raises(ValueError, match="does not fit dalle") as found:
        open_public(params_of("dalle", path, 32))
    assert "\n" not in str(found.value)
    vqkd = beit2_state(64, 2, 8, 4, 32, 8)
    vqkd.pop("quantize.embedding.weight")
    save_file(vqkd, path)
    with pytest.raises(ValueError, match=r"has no 'quantize\.embedding\.weight'"):
        open_public(params_of("beit2", path, 32))


def test_pictures_of_another_size_than_the_positions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(beit2_state(64, 2, 8, 4, 32, 8), path)
    with pytest.raises(ValueError, match=r"img_size 64: .* takes pictures of 32"):
        open_public(params_of("beit2", path, 64))
