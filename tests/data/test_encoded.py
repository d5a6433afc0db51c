"""Windows of stored pictures: the right pixels, one decode, the same without a compiler."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mimflow.data import encoded
from mimflow.data.augment import crop, crop_boxes, fill, fit
from mimflow.data.decode import decode
from mimflow.data.encoded import Encoded
from mimflow.data.fast_decode import library
from mimflow.draw import Draw

LIMIT = 1 << 28
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> list[bytes]:
    with zipfile.ZipFile(shared_data / "imagenet_photos.zip") as archive:
        return [archive.read(name) for name in archive.namelist() if name.endswith(".jpg")]


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    def take_away() -> None:
        monkeypatch.setenv("MIMFLOW_FAST_DECODE", "0")
        library.cache_clear()

    yield take_away
    monkeypatch.undo()
    library.cache_clear()


def stored(data: bytes) -> Encoded:
    height, width, _ = decode(data, LIMIT).shape
    return Encoded(memoryview(data), height, width, LIMIT)


def file(pixels: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def smooth(height: int, width: int) -> np.ndarray:
    small = RNG.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def reference(data: bytes, box: list[int], size: int) -> np.ndarray:
    """Pillow's full decode, then its resize of the box."""
    x, y, w, h = box
    image = Image.fromarray(decode(data, LIMIT))
    return np.asarray(
        image.resize((size, size), Image.Resampling.BICUBIC, (x, y, x + w, y + h))
    ).astype(int)


def test_the_compiled_code_is_in_use_where_there_is_a_compiler() -> None:
    assert library() is not None


@pytest.mark.slow
@pytest.mark.parametrize("size", [224, 96])
def test_a_crop_differs_from_pillows_by_less_than_two_of_255(
    size: int, photos: list[bytes]
) -> None:
    pictures = [stored(data) for data in photos]
    draw = Draw(np.arange(len(photos)), "crops")
    crops = crop(pictures, size, 0.08, draw)
    boxes = crop_boxes(pictures, 0.08, draw).tolist()
    errors = [
        np.abs(ours - reference(data, box, size)).mean()
        for ours, data, box in zip(crops, photos, boxes, strict=True)
    ]
    assert np.mean(errors) < 0.5 and np.percentile(errors, 99) < 2
    assert size < 224 or max(errors) < 2


@pytest.mark.slow
@pytest.mark.parametrize("size", [224, 64, 20])
def test_pillow_alone_gives_the_same_bits(
    size: int, photos: list[bytes], without_compiler: Callable[[], None]
) -> None:
    draw = Draw(np.arange(len(photos)), "crops")
    fast = crop([stored(data) for data in photos], size, 0.08, draw)
    without_compiler()
    assert library() is None
    assert np.array_equal(fast, crop([stored(data) for data in photos], size, 0.08, draw))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_a_window_is_cut_from_the_whole(subsampling: int, progressive: bool, factor: int) -> None:
    data = file(smooth(147, 211), subsampling=subsampling, progressive=progressive, quality=80)
    shape, wide, high = (147, 211), -(-211 // factor), -(-147 // factor)
    with Image.open(io.BytesIO(data)) as image:
        if factor > 1:
            image.draft(None, (211 // factor, 147 // factor))
        whole = np.asarray(image.convert("RGB"))
    assert whole.shape == (high, wide, 3)
    for _ in range(20):
        left, right = sorted(RNG.choice(wide + 1, 2, replace=False).tolist())
        top, bottom = sorted(RNG.choice(high + 1, 2, replace=False).tolist())
        window = (left, top, right, bottom)
        found = encoded.decode_window(memoryview(data), shape, factor, window)
        assert np.array_equal(found[..., :3], whole[top:bottom, left:right])


def test_a_resize_has_the_bits_of_pillows_two_passes(without_compiler: Callable[[], None]) -> None:
    cases = []
    for _ in range(100):
        height, width, rows, columns = RNG.integers(1, 90, 4).tolist()
        pixels = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
        x, y = RNG.random() * width * 0.7, RNG.random() * height * 0.7
        box = np.array([x, y, x + 0.3 * width, y + 0.3 * height], np.float32)
        cases.append((pixels, box, np.empty((rows, columns, 3), np.uint8)))
    for case in cases:
        encoded.resize(*case)
    without_compiler()
    for pixels, box, fast in cases:
        encoded.resize(pixels, box, slow := np.empty_like(fast))
        assert np.array_equal(fast, slow)


@pytest.mark.parametrize(
    "data",
    [
        file(
            smooth(60, 90), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
        ),
        file(smooth(60, 90)[..., 0]),
        file(np.dstack([smooth(60, 90), smooth(60, 90)[..., :1]]), "PNG"),
        file(smooth(60, 90), "WEBP"),
    ],
    ids=["turned by the camera", "grey", "PNG with alpha", "WebP"],
)
def test_every_kind_of_file_comes_out_upright_in_three_colours(data: bytes) -> None:
    pixels = decode(data, LIMIT)
    picture = stored(data)
    assert picture.shape == pixels.shape
    assert np.array_equal(np.asarray(picture), pixels)
    height, width, _ = pixels.shape
    box = (3.0, 4.0, width - 9.0, height - 6.0)
    whole = Encoded(memoryview(file(pixels, "PNG")), height, width, LIMIT)
    assert np.array_equal(stored(data).region(box, 20, 30), whole.region(box, 20, 30))


def test_four_inks_and_a_size_that_the_index_does_not_have_go_to_pillow() -> None:
    inks = io.BytesIO()
    Image.fromarray(smooth(40, 50)).convert("CMYK").save(inks, "JPEG")
    picture = stored(inks.getvalue())
    assert np.array_equal(np.asarray(picture), decode(inks.getvalue(), LIMIT))
    other = Encoded(memoryview(file(smooth(40, 50))), 30, 50, LIMIT)
    assert np.asarray(other).shape == (40, 50, 3)


def test_all_views_of_a_picture_take_one_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    kept = encoded.decode_window

    def counted(*arguments: object) -> np.ndarray:
        decoded.append(arguments)
        return kept(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(encoded, "decode_window", counted)
    data = file(smooth(300, 400))
    boxes = [(0.0, 0.0, 200.0, 150.0), (100.0, 50.0, 300.0, 250.0), (10.0, 20.0, 96.0, 96.0)]
    outs = [np.empty((side, side, 3), np.uint8) for side in (64, 64, 32)]
    picture = stored(data)
    picture.fill(boxes, outs)
    assert len(decoded) == 1
    for box, out in zip(boxes, outs, strict=True):
        error = np.abs(out - reference(data, [int(v) for v in box], len(out))).mean()
        assert error < 1
    for box in boxes:
        picture.region(box, 64, 64)  # asked one by one: whole at the second, then kept
    assert len(decoded) <= 3


def test_arrays_and_pictures_are_filled_alike() -> None:
    pixels = smooth(90, 70)
    picture = Encoded(memoryview(file(pixels, "PNG")), 90, 70, LIMIT)
    box, outs = (5.0, 6.0, 40.0, 50.0), np.empty((2, 32, 32, 3), np.uint8)
    fill(pixels, [box], [outs[0]])
    fill(picture, [box], [outs[1]])
    assert np.abs(outs[0].astype(int) - outs[1]).mean() < 0.2
    assert np.abs(fit([pixels], 48).astype(int) - fit([picture], 48)).mean() < 0.2


@pytest.mark.parametrize("fast", [True, False])
def test_a_damaged_picture_is_a_line_that_names_it(
    fast: bool, without_compiler: Callable[[], None]
) -> None:
    if not fast:
        without_compiler()
    data = file(smooth(200, 200), quality=95)
    for broken in (data[: len(data) // 3], data[:2] + b"\0\0\0" + data[5:], b""):
        picture = Encoded(memoryview(broken), 200, 200, LIMIT, lambda: "shard 7: a.jpg")
        with pytest.raises(ValueError, match=r"^shard 7: a\.jpg: .+"):
            np.asarray(picture)


def test_every_flipped_byte_gives_pixels_or_a_line(without_compiler: Callable[[], None]) -> None:
    data = file(smooth(48, 64), quality=70)
    for place in range(0, len(data), 3):
        broken = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
        picture = Encoded(memoryview(broken), 48, 64, LIMIT)
        try:
            assert picture.region((4.0, 4.0, 50.0, 40.0), 16, 16).shape == (16, 16, 3)
        except ValueError as error:
            assert "\n" not in str(error)


def test_several_processes_may_compile_at_once(tmp_path: Path) -> None:
    code = "from mimflow.data import fast_decode; print(fast_decode._compiled())"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, env=environment, stdout=pipe, text=True) for _ in range(3)]
    paths = {process.communicate(timeout=120)[0].strip() for process in running}
    assert {str(p) for p in (tmp_path / "mimflow").iterdir()} == paths and len(paths) == 1


def test_a_compiler_that_fails_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "false")
    library.cache_clear()
    assert library() is None
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.undo()
    library.cache_clear()
