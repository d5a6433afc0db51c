"""Decoding gives the upright RGB that a viewer shows, or a ValueError of one line."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mimflow.data.decode import decode

LIMIT = 10_000
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
RGB = Image.fromarray(PIXELS)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_give_back_their_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decode(encode(RGB, kind, **options), LIMIT)
    assert found.dtype == np.uint8 and found.flags.writeable
    assert np.array_equal(found, PIXELS)
    assert np.array_equal(decode(memoryview(encode(RGB, kind, **options)), LIMIT), PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_the_orientation_of_the_camera_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(RGB, kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(decode(data, LIMIT), upright)


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_and_palette_pictures_become_rgb(mode: str) -> None:
    image = RGB.convert(mode)
    assert np.array_equal(decode(encode(image), LIMIT), np.asarray(image.convert("RGB")))


def test_cmyk_becomes_rgb() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    found = decode(encode(red, "JPEG"), LIMIT)
    assert np.abs(found.astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_show_white_behind_them(mode: str) -> None:
    grey = Image.fromarray(np.full((1, 3), 100, np.uint8)).convert(mode)
    grey.putalpha(Image.fromarray(np.array([[0, 51, 255]], np.uint8)))
    assert decode(encode(grey), LIMIT)[0, :, 0].tolist() == [255, 224, 100]  # 255 - .2 * 155


def test_a_transparent_palette_entry_shows_white() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    data = encode(image, transparency=bytes([0, 255]))
    assert decode(data, LIMIT).tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_sixteen_bits_are_scaled_to_eight() -> None:
    values = np.array([[0, 256, 257, 32768, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        assert decode(encode(Image.fromarray(values), kind), LIMIT)[0, :, 1].tolist() == [
            *(0, 1, 1, 128, 255)
        ]


def test_floats_from_zero_to_one_are_scaled_and_others_refused() -> None:
    values = np.array([[0, 0.5, 1]], np.float32)
    found = decode(encode(Image.fromarray(values), "TIFF"), LIMIT)
    assert found[0, :, 2].tolist() == [0, 128, 255]
    for bad in (values * 2, values * np.float32("nan"), -values):
        with pytest.raises(ValueError, match="greyscale values from"):
            decode(encode(Image.fromarray(bad), "TIFF"), LIMIT)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_frame_is_taken(kind: str) -> None:
    first, second = Image.new("RGB", (4, 4), "blue"), Image.new("RGB", (4, 4), "white")
    data = encode(first, kind, save_all=True, append_images=[second])
    assert np.abs(decode(data, LIMIT).astype(int) - (0, 0, 255)).max() <= 3


def claim(width: int, height: int) -> bytes:
    """A PNG that says its size and holds nothing."""
    data = bytearray(encode(RGB))
    data[16:24] = struct.pack(">2L", width, height)
    data[29:33] = struct.pack(">L", zlib.crc32(data[12:29]))
    return bytes(data)


def test_the_size_is_checked_before_decoding() -> None:
    assert decode(encode(RGB), 54).shape == (6, 9, 3)
    with pytest.raises(ValueError, match="9 x 6 pixels, more than max_pixels 53"):
        decode(encode(RGB), 53)
    for side in (12_000, 100_000, 2_000_000_000):  # Pillow itself would warn, then refuse
        with pytest.raises(ValueError, match=f"{side} x {side} pixels"):
            decode(claim(side, side), LIMIT)


FILES = {
    kind: encode(RGB, kind, **({"lossless": True} if kind == "WEBP" else {}))
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
}


@pytest.mark.parametrize("kind", FILES)
def test_a_truncated_file_is_an_error_or_loses_nothing(kind: str) -> None:
    data = FILES[kind]
    whole = decode(data, LIMIT)
    errors = 0
    for length in range(0, len(data), 1 + len(data) // 60):
        try:
            assert np.array_equal(decode(data[:length], LIMIT), whole)
        except ValueError as error:
            errors += 1
            assert str(error) and "\n" not in str(error)
    assert errors > 30


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=5),
)
def test_hostile_bytes_give_pixels_or_one_line_that_does_not_change(
    kind: str, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(FILES[kind])
    for place, value in changes:
        data[int(place * len(data))] = value
    reasons = []
    for _ in range(2):
        try:
            found = decode(bytes(data), LIMIT)
            assert found.ndim == 3 and found.shape[2] == 3 and found.dtype == np.uint8
        except ValueError as error:
            reasons.append(str(error))
    assert len(set(reasons)) == 1 if reasons else True
    assert all("\n" not in reason and len(reason) <= 200 for reason in reasons)


@pytest.mark.parametrize("data", [b"", b"<!DOCTYPE html>", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_picture_says_how_it_begins(data: bytes) -> None:
    with pytest.raises(ValueError, match="no picture that can be read") as caught:
        decode(data, LIMIT)
    assert repr(data[:8]) in str(caught.value) or not data


def test_a_broken_exif_block_is_no_broken_picture() -> None:
    data = encode(RGB, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.array_equal(decode(data, LIMIT), decode(encode(RGB, "JPEG"), LIMIT))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "P", "1"])
def test_one_channel_is_the_luminance(mode: str) -> None:
    image = RGB.convert(mode)
    found = decode(encode(image, "TIFF"), LIMIT, channels=1)
    expected = np.asarray(image.convert("RGB").convert("L"))
    assert found.dtype == np.uint8 and np.array_equal(found, expected[..., None])


def test_sixteen_bits_are_kept_where_they_are_asked_for() -> None:
    values = np.array([[0, 1, 256, 32768, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        found = decode(encode(Image.fromarray(values), kind), LIMIT, 1, 16)
        assert found.dtype == np.uint16 and np.array_equal(found[..., 0], values)
    eight = np.array([[0, 1, 255]], np.uint8)
    found = decode(encode(Image.fromarray(eight)), LIMIT, 1, 16)
    assert found[..., 0].tolist() == [[0, 257, 65535]]
    halves = np.array([[0, 0.5, 1]], np.float32)
    found = decode(encode(Image.fromarray(halves), "TIFF"), LIMIT, 1, 16)
    assert found[..., 0].tolist() == [[0, 32768, 65535]]


def test_of_colours_with_sixteen_bits_the_upper_eight_are_taken() -> None:
    rows = b"".join(b"\0" + struct.pack(">6H", 0, 255, 256, 65535, 32768, 513) for _ in range(2))
    parts = [(b"IHDR", struct.pack(">2L5B", 2, 2, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in [*parts, (b"IEND", b"")]:
        data += (
            struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))
        )
    assert decode(data, LIMIT).tolist() == [[[0, 0, 1], [255, 128, 2]]] * 2
