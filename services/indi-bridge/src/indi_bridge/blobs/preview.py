"""Preview of a FITS image: a small stretched JPEG. Slow: call it in a thread."""

import io
import math
import sys
from array import array
from collections.abc import Sequence

from indi_bridge.blobs.fits import FitsHeader, read_header

WIDEST = 640  # pixels of the longer side
QUALITY = 80
SAMPLES = 20_000  # pixels that the brightness is taken from
# BITPIX -> array type code. Source: FITS 4.0, table 8
_CODES = {8: "B", 16: "h", 32: "i", -32: "f", -64: "d"}
_DARK = 0.01  # part of the pixels that is black
_BRIGHT = 0.997  # part of the pixels that is not white


def jpeg(data: bytes) -> bytes | None:
    """Return a preview; None if it is no FITS image that can be shown."""
    header = read_header(data)
    if header is None or header.cards.get("BITPIX") not in _CODES:
        return None
    width, height, planes = header.shape
    pixels = width * height
    size = header.size + pixels * planes * _bits(header) // 8
    if pixels == 0 or size > len(data):
        return None
    step = max(1, math.ceil(max(width, height) / WIDEST))
    shown = []
    for plane in range(3 if planes == 3 else 1):
        shown.append(_stretch(_plane(data, header, plane, step)))
    return _encode(shown, math.ceil(width / step), math.ceil(height / step))


def _bits(header: FitsHeader) -> int:
    """Return the bits of a pixel."""
    return abs(int(header.cards["BITPIX"] or 0))


def _plane(data: bytes, header: FitsHeader, plane: int, step: int) -> Sequence[float]:
    """Return every step-th pixel of every step-th row, the first row on top."""
    width, height, _ = header.shape
    code = _CODES[int(header.cards["BITPIX"] or 0)]
    pixels: array[int] | array[float] = array(code)
    stride = width * pixels.itemsize
    start = header.size + plane * height * stride
    rows = range(0, height, step)
    if header.cards.get("ROWORDER") != "TOP-DOWN":
        rows = rows[::-1]
    for number in rows:
        at = start + number * stride
        row = array(code, data[at : at + stride])
        pixels.extend(row[::step])
    if sys.byteorder == "little" and pixels.itemsize > 1:
        pixels.byteswap()
    return list(pixels)


def _stretch(pixels: Sequence[float]) -> bytes:
    """Return grey values: the darkest pixels black, the brightest white."""
    samples = pixels[:: max(1, len(pixels) // SAMPLES)]
    known = sorted(filter(math.isfinite, samples)) or [0.0]
    last = len(known) - 1
    dark = known[int(_DARK * last)]
    bright = known[int(_BRIGHT * last)]
    scale = 255 / ((bright - dark) or 1)
    grey = bytearray(len(pixels))
    for place, value in enumerate(pixels):
        if math.isfinite(value):
            grey[place] = min(255, max(0, int((value - dark) * scale)))
    return bytes(grey)


def _encode(planes: list[bytes], width: int, height: int) -> bytes:
    from PIL import Image  # 10 MB of memory that only a preview needs

    grey = [Image.frombytes("L", (width, height), plane) for plane in planes]
    image = grey[0] if len(grey) == 1 else Image.merge("RGB", grey)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
