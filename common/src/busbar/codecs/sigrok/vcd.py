"""Value change dump (IEEE 1364, 18) of a capture: what every waveform viewer reads."""

import re
import struct
from collections.abc import Iterator
from itertools import pairwise

from busbar.codecs.sigrok.srzip import FLOAT, Capture

_UNITS = ("s", "ms", "us", "ns", "ps", "fs")
_FIRST, _LETTERS = 33, 94  # identifiers are printable characters, "!" to "~"


def vcd(capture: Capture) -> str:
    """Return the dump; a time is a whole number of its timescale, rounded to that."""
    exponent = _exponent(capture.rate)
    steps = 10**exponent
    lines = [*_header(capture, exponent)]
    for sample, values in _changes(capture):
        time = sample
        if capture.rate:
            time = (2 * sample * steps + capture.rate) // (2 * capture.rate)
        lines.append(f"#{time} {' '.join(values)}")
    end = capture.samples
    if capture.rate:
        end = (2 * end * steps + capture.rate) // (2 * capture.rate)
    return "\n".join([*lines, f"#{end}", ""])


def _exponent(rate: int | None) -> int:
    """Return the power of ten of the coarsest timescale that fits the rate, to 1 fs."""
    for exponent in range(16):
        if rate and 10**exponent % rate == 0:
            return exponent
    return 15 if rate else 0


def _header(capture: Capture, exponent: int) -> Iterator[str]:
    unit, tens = divmod(exponent + 2, 3)
    scale = 10 ** (2 - tens)
    yield f"$timescale {scale} {_UNITS[unit]} $end"
    yield "$scope module capture $end"
    for number, name in enumerate(capture.channels):
        kind = "wire 1" if name in capture.logic else "real 64"
        yield f"$var {kind} {_identifier(number)} {_name(name)} $end"
    yield "$upscope $end"
    yield "$enddefinitions $end"


def _name(channel: str) -> str:
    return re.sub(r"[^!-~]", "_", channel)


def _identifier(number: int) -> str:
    text = ""
    while True:
        number, letter = divmod(number, _LETTERS)
        text += chr(_FIRST + letter)
        if not number:
            return text


def _changes(capture: Capture) -> Iterator[tuple[int, list[str]]]:
    """Return the samples at which something changes, and what; the first has all."""
    found: dict[int, list[str]] = {}
    for number, name in enumerate(capture.channels):
        identifier = _identifier(number)
        for sample, text in _own_changes(capture, name):
            found.setdefault(sample, []).append(f"{text}{identifier}")
    yield from sorted(found.items())


def _own_changes(capture: Capture, name: str) -> Iterator[tuple[int, str]]:
    if name in capture.logic:
        bits = capture.bits(name)
        if bits:
            yield 0, str(bits[0])
        for at in _edges(bits):
            yield at, str(bits[at])
        return
    count = capture.samples
    values = struct.unpack(f"<{count}f", capture.analog[name][: count * FLOAT])
    if values:
        yield 0, f"r{values[0]:.9g} "
    for at, (before, after) in enumerate(pairwise(values), 1):
        if before != after:
            yield at, f"r{after:.9g} "


def _edges(bits: bytes) -> Iterator[int]:
    """Return where the level differs from the sample before."""
    at = 0
    while bits:
        at = bits.find(1 - bits[at], at)
        if at < 0:
            return
        yield at
