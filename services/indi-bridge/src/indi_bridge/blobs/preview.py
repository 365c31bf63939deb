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
_CODES = {
    8: "B",
    16: "h",
    32: "i",
    -32: "f",
    -64: "d",
}
_DARK = 0.01  # part of the pixels that is black
_BRIGHT = 0.997  # part of the pixels that is not white


def jpeg(data: bytes) -> bytes | None:
    """Return a preview; None if it is no FITS image that can be shown."""
    header = read_header(data)
    if header is None or header.bitpix not in _CODES:
        return None
    end = header.size + header.data_size
    if header.data_size == 0 or len(data) < end:
        return None
    width, height, planes = header.shape
    longer = max(width, height)
    step = max(1, math.ceil(longer / WIDEST))
    shown = 3 if planes == 3 else 1
    grey = []
    for plane in range(shown):
        pixels = _plane(data, header, plane, step)
        grey.append(_stretch(pixels))
    columns = math.ceil(width / step)
    return _encode(grey, columns, math.ceil(height / step))


def _plane(data: bytes, header: FitsHeader, plane: int, step: int) -> Sequence[float]:
    """Return every step-th pixel of every step-th row, the first row on top."""
    width, height, _ = header.shape
    code = _CODES[header.bitpix]
    pixels: array[int] | array[float] = array(code)
    row_size = width * pixels.itemsize
    plane_size = height * row_size
    first = header.size + plane * plane_size
    last = first + plane_size
    rows = range(first, last, step * row_size)
    if header.cards.get("ROWORDER") != "TOP-DOWN":
        rows = rows[::-1]
    for start in rows:
        end = start + row_size
        row = array(code, data[start:end])
        pixels.extend(row[::step])
    if sys.byteorder == "little" and pixels.itemsize > 1:
        pixels.byteswap()
    return list(pixels)


def _stretch(pixels: Sequence[float]) -> bytes:
    """Return grey values: the darkest pixels black, the brightest white."""
    interval = max(1, len(pixels) // SAMPLES)
    samples = filter(math.isfinite, pixels[::interval])
    known = sorted(samples) or [0.0]
    last = len(known) - 1
    dark = known[int(_DARK * last)]
    bright = known[int(_BRIGHT * last)]
    contrast = bright - dark
    scale = 255 / (contrast or 1)
    grey = bytearray(len(pixels))
    for place, value in enumerate(pixels):
        if math.isfinite(value):
            brightness = int((value - dark) * scale)
            grey[place] = min(255, max(0, brightness))
    return bytes(grey)


def _encode(planes: list[bytes], width: int, height: int) -> bytes:
    from PIL import Image  # 10 MB of memory that only a preview needs

    size = (width, height)
    grey = [Image.frombytes("L", size, plane) for plane in planes]
    image = grey[0]
    if len(grey) == 3:
        image = Image.merge("RGB", grey)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
