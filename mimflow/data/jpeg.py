"""What the markers of a JPEG file say before anything is decoded (ITU-T T.81, annex B)."""

from __future__ import annotations

import io

from PIL import Image

_FRAMES = (0xC0, 0xC1, 0xC2)  # Huffman-coded: baseline, extended, progressive
_SCAN, _APP1, _FILL = 0xDA, 0xE1, 0xFF
_ORIENTATION = 0x0112


def is_plain(data: memoryview, height: int, width: int) -> bool:
    """Whether this is an 8-bit grey or three-colour file of that size, stored upright."""
    data = data.cast("B")  # Arrow's bytes have signs
    if data[:3] != b"\xff\xd8\xff":
        return False
    place, framed, tagged = 2, False, False
    while place + 10 < len(data) and data[place] == 0xFF and data[place + 1] != _SCAN:
        kind = data[place + 1]
        if kind == _FILL:
            place += 1
            continue
        if kind in _FRAMES:
            bits, *sides, colours = data[place + 4 : place + 10]
            size = sides[0] << 8 | sides[1], sides[2] << 8 | sides[3]
            framed = bits == 8 and size == (height, width) and colours in (1, 3)
        tagged |= kind == _APP1
        place += 2 + (data[place + 2] << 8 | data[place + 3])
    return framed and not (tagged and _turned(data))


def _turned(data: memoryview) -> bool:
    """Whether the camera says that the picture has to be turned."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            return image.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except Exception:  # a broken EXIF block is no broken picture: `decode` takes it as upright
        return False
