"""One crop rendered twice: the same box, the same flip, the same colours."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from mimflow.data.augment import finish
from mimflow.data.encoded import Encoded
from mimflow.data.jitter import jitter
from mimflow.data.twice import two_renderings, unit
from mimflow.draw import Draw
from mimflow.params.fields import Augment
from mimflow.params.rendering import Rendering

CROP = Augment(kind="crop", amount=0.2, flip=True)
SHIFT = Augment(kind="shift", amount=4, flip=True)


def ramps(count: int, size: int = 64) -> np.ndarray:
    """Smooth pictures that differ, so that two sizes of one crop can be compared."""
    rng = np.random.default_rng(0)
    small = torch.from_numpy(rng.random((count, 3, 4, 4), dtype=np.float32))
    x = torch.nn.functional.interpolate(small, size=size, mode="bicubic").clamp(0, 1)
    return (x.permute(0, 2, 3, 1) * 255).round().byte().numpy()


def drawn(count: int = 8) -> Draw:
    return Draw(np.arange(count), "views", 0)


@pytest.mark.parametrize("name", ["bicubic", "lanczos"])
@pytest.mark.parametrize("augment", [CROP, SHIFT], ids=["crop", "shift"])
def test_the_second_rendering_is_the_first_at_another_size(augment: Augment, name: str) -> None:
    views = two_renderings(augment, 32, Rendering(size=16, filter=name), 0.0)
    out = views(ramps(8), drawn(), 0)
    assert out["image"].shape == (8, 32, 32, 3) and out["tokens"].shape == (8, 256, 3)
    first = out["image"].astype(float).reshape(8, 16, 2, 16, 2, 3).mean((2, 4))
    assert np.abs(first - out["tokens"].reshape(8, 16, 16, 3)).mean() < 2  # of 255


def test_of_one_size_and_filter_both_are_equal() -> None:
    for augment in (CROP, SHIFT):
        views = two_renderings(augment, 32, Rendering(size=32, filter="bicubic"), 0.4)
        out = views(ramps(8), drawn(), 0)
        assert np.array_equal(out["image"].reshape(8, -1, 3), out["tokens"])


def test_lanczos_is_pillows_of_the_whole_box() -> None:
    views = two_renderings(CROP, 32, Rendering(size=16, filter="lanczos"), 0.0)
    stored = []
    for image in ramps(4):
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="PNG")
        data = memoryview(file.getvalue())
        stored.append(Encoded(data, 64, 64, 1 << 20))
    plain, encoded = views(ramps(4), drawn(4), 0), views(stored, drawn(4), 0)
    for name in ("image", "tokens"):
        assert np.array_equal(plain[name], encoded[name])


def test_on_the_device_the_tokens_are_in_0_to_1_and_flipped_like_the_view() -> None:
    views = two_renderings(CROP, 32, Rendering(size=32, filter="bicubic"), 0.0)
    batch = {k: torch.as_tensor(x) for k, x in views(ramps(16), drawn(16), 0).items()}
    assert 0 < batch["image.flip"].sum() < 16
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
    out = finish(mean, std, torch.device("cpu"))(batch)
    tokens = unit(out, 32)
    assert tokens.min() >= 0 and tokens.max() <= 1
    back = out["image"] * torch.tensor(std).view(3, 1, 1) + torch.tensor(mean).view(3, 1, 1)
    torch.testing.assert_close(tokens, back, rtol=0, atol=1e-6)


def test_jitter_changes_renderings_alike_and_each_image_by_its_own_numbers() -> None:
    images = ramps(8, 32)
    one, other = jitter([images, images[:, ::2, ::2]], 0.4, drawn())
    assert np.abs(one[:, ::2, ::2].astype(int) - other.astype(int)).mean() < 2
    assert not np.array_equal(one, images)
    ratio = one.mean((1, 2, 3)) / images.mean((1, 2, 3))
    assert len({round(r, 3) for r in ratio}) > 6 and ratio.min() > 0.5 and ratio.max() < 1.5
    again = jitter([images[3:5]], 0.4, Draw(np.arange(3, 5), "views", 0))[0]
    assert np.array_equal(again, one[3:5])


def test_jitter_of_nothing_changes_nothing() -> None:
    images = ramps(4)
    assert jitter([images], 0.0, drawn(4))[0] is images


def test_each_part_of_jitter_keeps_what_it_should() -> None:
    from mimflow.data.jitter import _changed

    view, order = ramps(1)[0], np.array([0])
    double = _changed(view // 4, np.array([2.0, 1, 1], np.float32), order)
    assert np.array_equal(double, view // 4 * 2)  # brightness
    flat = _changed(view, np.array([1.0, 0, 1], np.float32), np.array([1]))
    assert len(np.unique(flat)) == 1  # no contrast: one grey
    grey = _changed(view, np.array([1.0, 1, 0], np.float32), np.array([2]))
    assert (grey == grey[..., :1]).all()  # no saturation
