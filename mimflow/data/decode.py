"""The bytes of a picture file become the upright RGB that a viewer shows.

The orientation of the camera (EXIF) is applied, a palette looked up, the first frame taken,
anything transparent laid over white. Greyscale of 16 bits is scaled to 8, and so are floats from
0 to 1; other ranges have no agreed meaning and are refused. Of colours with 16 bits the upper 8
are taken. Colour profiles are not applied. Asked for, one channel (luminance, ITU-R 601) is given
instead of three, and with 16 bits: 8-bit values are then multiplied by 257.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

# Formats that are decoded without running another program (EPS would start Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WIDE = ("I", "I;16", "I;16L", "I;16B", "I;16N")

# Pillow's own limit warns or raises before the size can be read; max_pixels takes its place.
Image.MAX_IMAGE_PIXELS = None


def decode(
    data: bytes | memoryview, max_pixels: int, channels: int = 3, bit_depth: int = 8
) -> np.ndarray:
    """uint8 (H, W, channels), uint16 for 16 bits, or a ValueError with a one-line reason.

    `channels` 3 or 1; `bit_depth` 8 or, of one channel, 16.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata of a picture that decodes
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                check_size(*image.size, max_pixels)
                image.load()
                return _values(_upright(image), channels, bit_depth)
    except UnidentifiedImageError:
        raise ValueError(f"no picture that can be read ({_what(data)})") from None
    except MemoryError:
        raise
    except Exception as error:  # a decoder that meets hostile bytes may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(reason[:200]) from error


def decode_mask(data: bytes | memoryview) -> np.ndarray:
    """uint8 (H, W) of a PNG of one channel; the numbers of a palette, not its colours."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            mode = image.mode
            if mode in ("1", "L", "P"):
                return np.array(image, np.uint8)
    except Exception as error:  # a decoder that meets hostile bytes may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0][:100]
        raise ValueError(f"cannot be read ({reason})") from error
    raise ValueError(f"has the mode {mode}; one channel of 8 bits is expected")


def format_of(data: bytes) -> str:
    """The format of a picture that decodes, in Pillow's word."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return str(image.format)


def check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ValueError(f"{width} x {height} pixels, more than max_pixels {max_pixels}")


def _what(data: bytes | memoryview) -> str:
    if not len(data):
        return "the file is empty"
    return f"{len(data)} bytes that begin with {bytes(data[:8])!r}"


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken EXIF block is no broken picture: viewers ignore it
        orientation = 1
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _values(image: Image.Image, channels: int, bit_depth: int) -> np.ndarray:
    if channels == 3:
        return np.array(_rgb(image))  # (H, W, 3)
    if bit_depth == 16:
        return _sixteen_bits(image)[..., None]
    return np.array(image if image.mode == "L" else _rgb(image).convert("L"))[..., None]


def _sixteen_bits(image: Image.Image) -> np.ndarray:
    """uint16 (H, W)."""
    if image.mode in _WIDE or image.mode == "F":
        grey, most = _in_range(image)
        return np.rint(grey * (65535 / most)).astype(np.uint16)
    return np.asarray(_rgb(image).convert("L")).astype(np.uint16) * 257


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _WIDE or image.mode == "F":
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greyscale of 16 bits, or of floats from 0 to 1, rounded to mode L."""
    grey, most = _in_range(image)
    return Image.fromarray(np.rint(grey * (255 / most)).astype(np.uint8))


def _in_range(image: Image.Image) -> tuple[np.ndarray, int]:
    """(H, W), and the value that means white."""
    grey = np.asarray(image)
    low, high, most = grey.min(), grey.max(), 1 if image.mode == "F" else 65535
    if not 0 <= low <= high <= most:  # false for NaN too
        raise ValueError(f"greyscale values from {low} to {high}, known are 0 to {most}")
    return grey, most
