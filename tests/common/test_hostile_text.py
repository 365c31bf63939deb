"""What parsers raise is what they declare, whatever comes: control characters, digits
of other alphabets, numbers beyond all limits, halves of characters.

An exception that is not declared would end the link, where one value is bad.
"""

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from busbar.codecs import ieee488, indi
from busbar.contract import messages
from busbar.errors import BusbarError, ProtocolError
from tests.common.parsers import DATA, DECLARED, STREAMS, TEXT, Parse

CONTROL = ["\0", "\x1c", "\x1d", "\x1e", "\x1f", "\x7f", "\x85", "\a", "\b", "\x1b"]
SPACES = [" ", "\t", "\r", "\n", "\v", "\f", "\xa0", "\u2003", "\u2028", "\ufeff"]
OTHER_DIGITS = ["\uff11\uff12", "\u0663", "\u00b2", "\u00bd", "\u09ea", "\U0001d7d8"]
HALVES = ["\ud800", "\udfff", "\udce9"]
NUMBERS = [
    *("1", "0", "-1", "+5", ".5", "5.", "1.5", "-0.0", "1e9", "0x10", "1_000", "0b1"),
    *("9" * 30, "1" * 400, "1" * 5000, "1." + "5" * 400, "1e999", "-1e-999", "1e+"),
    *("1e99999999999999999999", "nan", "NaN", "inf", "-Infinity", "9.91E37", "9.9E37"),
    *("12:30:00", "1:2:3:4", "1 2 3", "1;", "18446744073709551616", "#H1F", "1,2"),
]
MARKS = [*"'\"+-.eE:;,#/&<>()[]{}%*?!=@_", "''", '""', "&#", "&#x110000;", "&#55296;"]
FORMATS = ["%d", "%s", "%n", "%1$s", "%.3m", "%99999d", "%.99f", "%5.20g", "%%"]
JSON = ['{"_value":', '"_ttl":', '"_id":', "NaN", "null", "true", '"\\ud800"', "[[[["]
WORDS = [
    *("ON", "off", "On", "VOLT", "MIN", "DEF", "*IDN?", "SYST:ERR?", "T", "F", "fast"),
    *("2026-01-01T00:00:00", "0000-00-00T00:00:00", "9999-12-31T23:59:59.9999999"),
    *(
        "digital/",
        "smart/",
        "slot/1/",
        "99999",
        "pin ",
        " (a): ",
        "function ",
        "[INFO]",
    ),
    "pin " + "1" * 5000 + " (a): function b",
    *("SIMPLE  =", "NAXIS   = ", "END", "123#", "##", "R8", "busbar/", "/set/"),
]
SOUP = [
    *(CONTROL + SPACES + OTHER_DIGITS + HALVES + NUMBERS + MARKS),
    *(FORMATS + JSON + WORDS),
]
texts = st.lists(st.sampled_from(SOUP) | st.text(max_size=3), max_size=7).map("".join)
HEADS = [
    b'<setNumberVector device="a" name="b" timeout="1_0">',
    b'<oneNumber name="x">',
    b"</oneNumber>",
    b"</setNumberVector>",
    b'<setBLOBVector device="a" name="b">',
    b'<oneBLOB name="x" size="\xff" format="y">',
    b"AAA=",
    b"</oneBLOB>",
    b"</setBLOBVector>",
    b"\x05\x00\x09\x00\x00\x06\x02#99999,",
    b"\x05\x00\x0b\x00\x00\x08\x08\x0e\xff\xff\xff\xff\xff\xff",
    b"\x12\x00\x08\x00\x00\x00\x04\x34\x00\x00\x04",
    b"\x0b\x00\x03\x00\x03\xff",
    b"\x26\x00\xd5",
    b"t1238",
    b"T1FFFFFFF0",
    b":010300",
    b"\x00\x01\x00\x00\x00\x05\x01\x03\x02\x00\x01",
    b"\x10\x14",
    b"\x21",
    b"#3",
    b"#0",
    b"\x81\xa6_value",
    b"\x81\xa4_ttl\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    b"\x81\x80\x01",
    b"\xc7\x0c\xff",
    bytes(16),
    b"\xff" * 16,
    b"\x34\x00\x00\x00\x10\x00"
    + bytes(26)
    + b"\x14\x00\x12\x00\x08\x00\x01\x00\xff\xff",
    b"\x24\x00\x00\x00\x02\x00" + bytes(10) + b"\x00\x00\x00\x80",
]
datas = st.lists(
    st.sampled_from(HEADS)
    | texts.map(lambda text: text.encode(errors="surrogatepass"))
    | st.binary(max_size=24),
    max_size=6,
).map(b"".join)


def is_declared(name: str, error: Exception) -> bool:
    return isinstance(error, (BusbarError, *DECLARED.get(name, ())))


def run(name: str, parse: Parse, given_: Any) -> None:
    """Call; raise what is not declared, or cannot be said on the bus."""
    try:
        parse(given_)
    except Exception as error:
        if not is_declared(name, error):
            raise
        if isinstance(error, BusbarError):
            messages.encode(messages.ReplyError.of(error))
            assert len(error.message) < 1000


@pytest.mark.parametrize("name", TEXT)
def test_a_parser_of_text_raises_what_it_declares(name: str) -> None:
    for word in ("", "1.5\x1c", "1e" + "9" * 5000, *SOUP):
        run(name, TEXT[name], word)

    @given(texts)
    def check(text: str) -> None:
        run(name, TEXT[name], text)

    check()


@pytest.mark.parametrize("name", DATA)
def test_a_parser_of_bytes_raises_what_it_declares(name: str) -> None:
    for word in ("", "[" * 5000, *SOUP):
        run(name, DATA[name], word.encode(errors="surrogatepass"))

    @given(datas)
    def check(data: bytes) -> None:
        run(name, DATA[name], data)

    check()


@pytest.mark.parametrize("name", STREAMS)
def test_a_reader_raises_what_it_declares(name: str) -> None:
    @given(st.lists(datas, max_size=5))
    @example([b"1.5\x1c\n"])
    def check(chunks: list[bytes]) -> None:
        run(name, STREAMS[name], chunks)

    check()


NO_NUMBERS = [*CONTROL, *OTHER_DIGITS, "1_000", "1\x1c", "\x1f2", "1\0", "\xa01", "1\v"]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_no_protocol_has_such_numbers(text: str) -> None:
    """Python reads most of them; an instrument means no number by them."""
    for parse in (ieee488.parse_number, ieee488.parse_boolean, indi.parse_number):
        with pytest.raises(ProtocolError):
            parse(text)
    with pytest.raises(ProtocolError):
        ieee488.parse_error(f"{text},x")


@pytest.mark.parametrize("text", ["1" * 300, "0." + "1" * 263, "1e" + "1" * 300])
def test_a_number_longer_than_the_standard_allows_is_none(text: str) -> None:
    with pytest.raises(ProtocolError, match="not a number"):
        ieee488.parse_number(text)


def test_a_number_of_255_digits_is_read() -> None:
    assert math.isclose(ieee488.parse_number("-0." + "1" * 253 + "E-99999"), 0)
