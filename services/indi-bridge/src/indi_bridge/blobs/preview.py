"""A small stretched JPEG of a FITS image, for people. Slow: call it in a thread."""

import io
import math
import sys
from array import array
from collections.abc import Sequence

from indi_bridge.blobs.fits import Header, read_header

WIDEST = 640  # pixels of the longer side
QUALITY = 80
# BITPIX -> array type code. Source: FITS 4.0, table 8
_CODES = {8: "B", 16: "h", 32: "i", -32: "f", -64: "d"}
_DARK, _BRIGHT = 0.01, 0.997  # parts of the pixels that are black or white


def jpeg(data: bytes) -> bytes | None:
    """Return a preview; None if it is no FITS image that can be shown."""
    header = read_header(data)
    if header is None or header.cards.get("BITPIX") not in _CODES:
        return None
    width, height, planes = header.shape
    step = max(1, math.ceil(max(width, height) / WIDEST))
    size = abs(int(header.cards["BITPIX"] or 0)) // 8
    if min(width, height) == 0 or header.size + width * height * planes * size > len(
        data
    ):
        return None
    shown = [
        _plane(data, header, plane, step) for plane in range(3 if planes == 3 else 1)
    ]
    return _encode(
        [_stretch(plane) for plane in shown], -(-width // step), -(-height // step)
    )


def _plane(data: bytes, header: Header, plane: int, step: int) -> Sequence[float]:
    """Return every step-th pixel of every step-th row, the first row on top."""
    width, height, _ = header.shape
    code = _CODES[int(header.cards["BITPIX"] or 0)]
    pixels: array[int] | array[float] = array(code)
    stride = width * pixels.itemsize
    start = header.size + plane * height * stride
    rows = range(0, height, step)
    for number in (
        rows if header.cards.get("ROWORDER") == "TOP-DOWN" else reversed(rows)
    ):
        row = array(code, data[start + number * stride : start + (number + 1) * stride])
        pixels.extend(row[::step])
    if sys.byteorder == "little" and pixels.itemsize > 1:
        pixels.byteswap()
    return list(pixels)


def _stretch(pixels: Sequence[float]) -> bytes:
    known = sorted(
        each for each in pixels[:: max(1, len(pixels) // 20_000)] if math.isfinite(each)
    ) or [0.0]
    dark, bright = (
        known[int(_DARK * (len(known) - 1))],
        known[int(_BRIGHT * (len(known) - 1))],
    )
    scale = 255 / ((bright - dark) or 1)
    return bytes(
        min(255, max(0, int((each - dark) * scale))) if math.isfinite(each) else 0
        for each in pixels
    )


def _encode(planes: list[bytes], width: int, height: int) -> bytes:
    from PIL import Image  # 10 MB of memory that only a preview needs

    grey = [Image.frombytes("L", (width, height), plane) for plane in planes]
    image = grey[0] if len(grey) == 1 else Image.merge("RGB", grey)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
