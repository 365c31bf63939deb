"""Star fields as FITS files, for the simulated camera.

Source: FITS standard 4.0, sections 4 and 5.
"""

import math
import sys
from array import array
from random import Random

WIDTH = 320
HEIGHT = 240
BLOCK = 2880  # bytes
CARD = 80  # bytes
_GROUND = 800  # counts
_BRIGHTEST = 60000.0  # counts of a star
_WHITE = 65535  # counts of a pixel
_ZERO = 32768  # counts of a stored 0
_RADIUS = 4  # pixels of a star
_SIGMA = 1.3  # pixels


def star_field(
    random: Random,
    seconds: float,
    stars: int,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> bytes:
    """Return a frame of unsigned 16 bit pixels; its size is width and height."""
    width, height = size
    noise = random.randbytes(width * height)
    pixels = [_GROUND + each for each in noise]
    for _ in range(stars):
        x = random.uniform(0, width)
        y = random.uniform(0, height)
        light = 500 * seconds * random.paretovariate(1.0)
        _shine(pixels, size, (x, y), min(_BRIGHTEST, light))
    stored = array("h", [min(_WHITE, pixel) - _ZERO for pixel in pixels])
    if sys.byteorder == "little":
        stored.byteswap()
    header = _header(seconds, "Light" if stars else "Dark", size)
    return header + _padded(stored.tobytes(), b"\0")


def _shine(
    pixels: list[int],
    size: tuple[int, int],
    place: tuple[float, float],
    light: float,
) -> None:
    """Add a star to the pixels around it."""
    width, height = size
    x, y = place
    spread = 2 * _SIGMA**2
    for row in _around(y, height):
        for column in _around(x, width):
            right = column - x
            down = row - y
            distance = right**2 + down**2
            pixels[row * width + column] += int(light * math.exp(-distance / spread))


def _around(middle: float, end: int) -> range:
    """Return the rows or columns that a star covers."""
    first = int(middle) - _RADIUS
    last = int(middle) + _RADIUS
    return range(max(0, first), min(end, last + 1))


def _header(seconds: float, kind: str, size: tuple[int, int]) -> bytes:
    values = {
        "SIMPLE": "T",
        "BITPIX": "16",
        "NAXIS": "2",
        "NAXIS1": str(size[0]),
        "NAXIS2": str(size[1]),
        "BZERO": str(_ZERO),
        "BSCALE": "1",
        "INSTRUME": "'CCD Simulator'",
        "EXPTIME": f"{seconds:.3f}",
        "IMAGETYP": f"'{kind} Frame'",
        "ROWORDER": "'TOP-DOWN'",
    }
    cards = [f"{key:8}= {value:>20}" for key, value in values.items()]
    text = "".join(card.ljust(CARD) for card in [*cards, "END"])
    return _padded(text.encode("ascii"), b" ")


def _padded(data: bytes, with_: bytes) -> bytes:
    """Return data filled up to whole blocks."""
    blocks = math.ceil(len(data) / BLOCK)
    return data.ljust(blocks * BLOCK, with_)
