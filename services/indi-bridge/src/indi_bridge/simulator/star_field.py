"""Star fields as FITS files, for the simulated camera.

Source: FITS standard 4.0, sections 4 and 5.
"""

import math
import sys
from array import array
from random import Random

WIDTH, HEIGHT = 320, 240
BLOCK, CARD = 2880, 80
_GROUND, _RADIUS, _SIGMA = 800, 4, 1.3  # counts, pixels


def star_field(
    random: Random, seconds: float, stars: int, width: int = WIDTH, height: int = HEIGHT
) -> bytes:
    """Return a frame of unsigned 16 bit pixels."""
    pixels = [_GROUND + noise for noise in random.randbytes(width * height)]
    for _ in range(stars):
        x, y = random.uniform(0, width), random.uniform(0, height)
        _shine(
            pixels,
            x,
            y,
            min(60000.0, 500 * seconds * random.paretovariate(1.0)),
            width,
            height,
        )
    signed = array("h", (min(65535, pixel) - 32768 for pixel in pixels))
    if sys.byteorder == "little":
        signed.byteswap()
    data = signed.tobytes()
    return (
        _header(width, height, seconds, "Light" if stars else "Dark")
        + data
        + bytes(-len(data) % BLOCK)
    )


def _shine(
    pixels: list[int], x: float, y: float, light: float, width: int, height: int
) -> None:
    for row in range(max(0, int(y) - _RADIUS), min(height, int(y) + _RADIUS + 1)):
        for column in range(max(0, int(x) - _RADIUS), min(width, int(x) + _RADIUS + 1)):
            distance = (column - x) ** 2 + (row - y) ** 2
            pixels[row * width + column] += int(
                light * math.exp(-distance / (2 * _SIGMA**2))
            )


def _header(width: int, height: int, seconds: float, kind: str) -> bytes:
    cards = [
        ("SIMPLE", "T"),
        ("BITPIX", "16"),
        ("NAXIS", "2"),
        ("NAXIS1", str(width)),
        ("NAXIS2", str(height)),
        ("BZERO", "32768"),
        ("BSCALE", "1"),
        ("INSTRUME", "'CCD Simulator'"),
        ("EXPTIME", f"{seconds:.3f}"),
        ("IMAGETYP", f"'{kind} Frame'"),
        ("ROWORDER", "'TOP-DOWN'"),
    ]
    text = "".join(
        f"{key:8}= {value:>20}".ljust(CARD) for key, value in cards
    ) + "END".ljust(CARD)
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")
