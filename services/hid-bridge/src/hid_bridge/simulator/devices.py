"""A scale, a panel with a keyboard's lights, and a barcode reader."""

import asyncio
import random

from hid_bridge.simulator.world import SimulatedHid, SimulatedKeyboard

# Point-of-sale usages: status, unit, power of ten, weight, in input report 3
SCALE = bytes.fromhex(
    "058D0920A101850309 32A1020970A102150125087508950109710972097309740975"
    "0976097709788100C00950A1021501250C0951095209530954095509560957095809"
    "59095A095B095C8100C0094115812 57F810209401500 27FFFF00007510810 2C0C0".replace(
        " ", ""
    )
)
# A vendor's page: feature report 1 has a level (thousandths) and an output (bit), input
# report 2 eight buttons, output report 4 two lights
PANEL = bytes.fromhex(
    "06 00FF 0901 A101"
    "8501 0910 1500 263075 7510 9501 B102"
    "0911 1500 2501 7501 9501 B102 7507 9501 B101"
    "8502 0509 1901 2908 1500 2501 7501 9508 8102"
    "8504 0508 0901 0902 1500 2501 7501 9502 9102 7506 9501 9101"
    "06 00FF 8505 0920 1500 26FF00 7508 960018 B102"
    "C0"
)
WEIGHTS = (0, 282, 282, 1000)  # tenths of an ounce
DIGITS = {"0": 11, **{str(digit): digit + 1 for digit in range(1, 10)}}
ENTER = 28


def scale() -> SimulatedHid:
    """Return a scale."""
    return SimulatedHid(
        SCALE, vendor=0x0922, product=0x8003, name="Scale", port="1-1", serial="0042"
    )


def panel(port: str = "1-2") -> SimulatedHid:
    """Return a panel."""
    made = SimulatedHid(PANEL, vendor=0x1209, product=0x0002, name="Panel", port=port)
    made.features = {1: bytearray(3), 5: bytearray(6144)}
    return made


def barcodes() -> SimulatedKeyboard:
    """Return a barcode reader."""
    return SimulatedKeyboard(
        vendor=0x0C2E, product=0x0200, name="Barcode reader", port="1-3"
    )


def weighing(tenths: int, status: int = 4) -> bytes:
    """Return the report of a weight in tenths of an ounce."""
    return bytes([3, status, 11, 0xFF]) + tenths.to_bytes(2, "little")


async def live(weigher: SimulatedHid, reader: SimulatedKeyboard) -> None:
    """Let things be weighed and scanned, for ever."""
    while True:
        for tenths in WEIGHTS:
            weigher.send(weighing(tenths))
            await asyncio.sleep(1)
        code = "".join(random.choices("0123456789", k=8))
        reader.type(*(DIGITS[digit] for digit in code), ENTER)
