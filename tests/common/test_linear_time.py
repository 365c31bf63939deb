"""Nothing that reads bytes of a device or a payload takes more than linear time.

One instrument's line, or one message on the bus, must not stop everything else. CPU
time at n and 4n: four times as much is linear, sixteen times is quadratic.
"""

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from busbar.errors import BusbarError
from tests.common.parsers import (
    DATA,
    DECLARED,
    STREAMS,
    TEXT,
    WITHIN,
    WITHOUT_INPUT,
    Parse,
    public_names,
)

SIZE = 8192  # bytes at n
PIECES = (1, 50, 1 << 30)  # bytes that a stream gives at once
STREAM_SIZES = (1024, 16_384, 16_384)  # bytes at n, by pieces
OTHER_SIZES = {
    # More than 64 KiB: what waits for an end is given up there, and the rest is read.
    "indi.reader.ElementReader": (1024, 131_072, 131_072),
    "modbus.framing.RtuReader": (512, 4096, 4096),  # it looks for a CRC at every byte
}
RATIO = 8.0  # of CPU between n and 4n: between linear (4) and quadratic (16)
NOISE = 0.02  # s of CPU that say nothing
ATTEMPTS = 4
Shape = Callable[[int], str]

VECTOR = '<setTextVector device="a" name="b">'
BLOBS = '<setBLOBVector device="a" name="b">'


def around(start: str, unit: str, end: str = "") -> Shape:
    """Return the shape of a unit that is repeated between two ends."""
    return lambda size: start + unit * (size // len(unit)) + end


PLAIN: dict[str, Shape] = {
    "digits": around("", "1", "x"),
    "digits with points": around("", "1.", "x"),
    "zeros": around("%", "0", "x"),
    "signs": around("", "+-"),
    "exponents": around("1", "e1"),
    "letters": around("", "a", '"'),
    "letters and digits": around("", "a1", "="),
    "blanks": around("1", " ", "x"),
    "tabs": around("", "\t"),
    "newlines": around("", "\n"),
    "carriage returns": around("", "\r"),
    "bells": around("", "\a"),
    "zero bytes": around("", "\0"),
    "high bytes": around("", "ÿ"),
    "control characters": around("", "\x1c"),
    "apostrophes": around("'", "''", "x"),
    "quotation marks": around('"', '""', "x"),
    "a string without an end": around('"', "a"),
    "backslashes": around('"', "\\"),
    "colons": around("1", ":", "x"),
    "semicolons": around("1", ";1"),
    "commas": around("1", ",1"),
    "hashes": around("#", "#1"),
    "blocks": around("", "#0", "\n"),
    "slashes": around("a", "/a"),
    "brackets": around("", "["),
    "lists": around("[", "[],", "1]"),
    "objects": around("", '{"a":'),
    "members": around("{", '"a":1,', '"_value":1}'),
    "an object that is none": around('{"_value":', "1", "x}"),
    "a long text": around('{"_value":"', "a", '","_ttl":NaN}'),
    "escapes": around('"', "\\u0041", '"'),
    "references": around("", "&amp;"),
    "references without an end": around("", "&#1"),
    "hex digits": around("123#", "AB."),
    "lines of hex digits": around(":", "01030002FA\r\n:"),
    "frames of an adapter": around("", "t1230\r"),
    "lines": around("", "pin 1 (a): function b\n"),
    "pins": around("pin ", "1"),
    "cards": around("SIMPLE  =", "NAXIS   = '''''" + 65 * "'"),
    "a map": around("\x81\xa6_value\xdd", "\xff"),
}
INDI: dict[str, Shape] = {
    "start tags": around("", VECTOR),
    "start tags within one": around(VECTOR, VECTOR, "</setTextVector>"),
    "start tags of two kinds": around(
        "",
        VECTOR + '<setNumberVector device="a" name="b">',
        "</setTextVector></setNumberVector>",
    ),
    "faulty elements within one": around(
        VECTOR, "<setLightVector></setLightVector>" + VECTOR, "</setTextVector>"
    ),
    "an element without an end": around(VECTOR, "x"),
    "a tag without an end": around("<message a", "a"),
    "a value without an end": around('<message message="', ">"),
    "values without an end": around("<message ", "a='"),
    "a name without a value": around(VECTOR + "<oneText ", "a", "></setTextVector>"),
    "names without values": around(VECTOR + "<oneText ", "a ", "></setTextVector>"),
    "attributes": around("<message ", 'a="1"', "/>"),
    "members of a vector": around(
        VECTOR, '<oneText name="a">1</oneText>', "</setTextVector>"
    ),
    "ends with blanks": around(VECTOR, "</setTextVector" + " " * 40),
    "a comment": around("<!--", "x", "-->"),
    "comments": around("", "<message/><!--"),
    "comments in vectors": around("", BLOBS + "<!--"),
    "instructions": around("", "<message/><?"),
    "an instruction": around("<?", "x"),
    "markup": around(VECTOR, "<![CDATA[<!--<?", "</setTextVector>"),
    "images": around(BLOBS, '<oneBLOB name="a" size="1" format="x">AA==</oneBLOB>'),
    "an image": around(BLOBS + '<oneBLOB name="a" size="1" format="x">', "AAAA"),
    "an image of blanks": around(BLOBS + '<oneBLOB name="a">', " "),
    "vectors of images": around("", BLOBS + "<oneBLOB"),
}
CIP: dict[str, Shape] = {
    "lines of a join": lambda size: frame(
        0x12, "\x00\x02#1," + "\r" * min(size * 2, 60_000)
    ),
    "appended lines": lambda size: frame(
        0x12, "\x00\x02" + "@1,a\r" * min(size // 2, 12_000)
    ),
    "frames": around("", "\x05\x00\x06\x00\x00\x03\x00\x01\x00"),
    "frames that are too long": around("", "\x12\xff\xff"),
}
KERNEL: dict[str, Shape] = {
    "attributes": around("\0\0\0\0\x10" + 27 * "\0", "\x04\0\x12\0")
}
SPECIAL = {"indi": INDI, "cip": CIP, "canlink": KERNEL}


def frame(kind: int, record: str) -> str:
    """Return a CIP frame with one record behind its length of two bytes."""
    body = record[1:]
    payload = f"\0\0{chr(len(body) >> 8)}{chr(len(body) & 255)}{body}"
    return f"{chr(kind)}{chr(len(payload) >> 8)}{chr(len(payload) & 255)}{payload}"


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def cpu(parse: Callable[[], object], declared: tuple[type[Exception], ...]) -> float:
    """Return the seconds of CPU that a call takes."""
    start = time.process_time()
    try:
        parse()
    except (BusbarError, *declared):
        pass
    return time.process_time() - start


def superlinear(made: Callable[[int], Callable[[], object]], name: str) -> str:
    """Return what is wrong, "" if four times as much takes about four times as long.

    `made` makes the call for one, two and four times n. Other work on the machine
    makes one measurement longer, never shorter.
    """
    declared = DECLARED.get(name, ())
    once, twice, four = made(1), made(2), made(4)
    taken = [float("inf")] * 3
    for _ in range(ATTEMPTS):
        taken[2] = min(taken[2], cpu(four, declared))
        if taken[2] <= NOISE:
            return ""
        taken[0] = min(taken[0], cpu(once, declared))
        taken[1] = min(taken[1], cpu(twice, declared))
        if taken[2] <= RATIO * taken[0] + NOISE:
            return ""
    shown = ", ".join(f"{each * 1000:.1f}" for each in taken)
    return f"{shown} ms of CPU for n, 2n, 4n"


def check(parse: Parse, convert: Callable[[str], Any], name: str, size: int) -> None:
    """Fail with every shape of input that takes more than linear time."""
    wrong = []
    for shape, text_of in (PLAIN | SPECIAL.get(name.split(".")[0], {})).items():

        def made(factor: int, text_of: Shape = text_of) -> Callable[[], object]:
            return partial(parse, convert(text_of(size * factor)))

        found = superlinear(made, name)
        if found:
            wrong.append(f"{shape}: {found}")
    assert not wrong, "\n".join(wrong)


def as_bytes(text: str) -> bytes:
    return text.encode("latin-1")


@pytest.mark.parametrize("name", TEXT)
def test_text_takes_linear_time(name: str) -> None:
    check(TEXT[name], str, name, SIZE)


@pytest.mark.parametrize("name", DATA)
def test_bytes_take_linear_time(name: str) -> None:
    check(DATA[name], as_bytes, name, SIZE)


@pytest.mark.parametrize("which", range(3), ids=["bytes", "pieces", "whole"])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_takes_linear_time_in_any_pieces(name: str, which: int) -> None:
    read = STREAMS[name]

    def read_pieces(data: bytes) -> None:
        read(pieces(data, PIECES[which]))

    sizes = OTHER_SIZES.get(name, STREAM_SIZES)
    check(read_pieces, as_bytes, name, sizes[which])


def test_every_public_function_of_the_codecs_is_measured_or_sees_no_input() -> None:
    known = {*TEXT, *DATA, *STREAMS, *WITHIN, *WITHOUT_INPUT}
    public = set(public_names())
    assert sorted(public - known) == []
    assert sorted({*WITHIN, *WITHOUT_INPUT} - public) == []
    assert sorted(set(WITHIN.values()) - {*TEXT, *DATA, *STREAMS}) == []


def test_a_quadratic_function_is_found() -> None:
    # two quantifiers side by side over the same characters
    quadratic = re.compile(r"\d+\.?\d*").fullmatch
    with pytest.raises(AssertionError, match=r"digits: .* ms of CPU for n, 2n, 4n"):
        check(quadratic, str, "", 2048)
