"""CAN frames: sending, filters, text of can-utils, bits, error frames, J1939."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.codecs import can, j1939
from busbar.codecs.can import BRS, ERROR, EXTENDED, FD, FD_LENGTHS, REMOTE, Frame, Mask
from busbar.errors import BadRequest, OutOfRange

TEXTS = [  # as cansend(1) documents them
    ("123#DEADBEEF", 0x123, 0, b"\xde\xad\xbe\xef"),
    ("5A1#11.22.33.44", 0x5A1, 0, b"\x11\x22\x33\x44"),
    ("1F334455#1122", 0x1F334455, EXTENDED, b"\x11\x22"),
    ("00000123#", 0x123, EXTENDED, b""),
    ("123#R", 0x123, REMOTE, b""),
    ("213##311223344", 0x213, FD | BRS, b"\x11\x22\x33\x44"),
    ("213##0", 0x213, FD, b""),
]


@pytest.mark.parametrize(("text", "id_", "flags", "data"), TEXTS)
def test_the_text_of_cansend(text, id_, flags, data):
    found = can.parse(text)
    assert (found.id, found.flags, found.data) == (id_, flags, data)
    assert can.parse(can.cansend_text(found)) == found


def test_a_remote_frame_says_how_much_it_asks_for():
    assert can.parse("123#R4").length == 4
    assert can.cansend_text(can.parse("123#R4")) == "123#R4"


@pytest.mark.parametrize(
    "text", ["", "123", "12#00", "123#0", "123#XY", "123#R9", "123##", "123#00#"]
)
def test_text_that_is_no_frame(text):
    with pytest.raises(BadRequest):
        can.parse(text)


REFUSED = [
    ({"id": 0x800}, OutOfRange, "extended: true"),
    (
        {"id": 0x20000000, "extended": True},
        OutOfRange,
        "0x20000000 is not 0 to 0x1FFFFFFF",
    ),
    ({"id": -1}, OutOfRange, "id"),
    (
        {"id": 1, "data": bytes(9)},
        OutOfRange,
        ("9 bytes; a classic frame has 0 to 8; `fd: true` allows 64"),
    ),
    ({"id": 1, "data": bytes(65)}, OutOfRange, "0 to 8$"),
    (
        {"id": 1, "data": bytes(9), "fd": True},
        OutOfRange,
        "9 bytes; CAN FD has frames of 0, 1",
    ),
    ({"id": 1, "brs": True}, BadRequest, "only CAN FD"),
    ({"id": 1, "remote": True, "data": b"x"}, BadRequest, "no data"),
    ({"id": 1, "remote": True, "fd": True}, BadRequest, "not CAN FD"),
    ({"id": 1, "remote": True, "length": 9}, OutOfRange, "9 bytes"),
    ({"id": 1, "data": b"x", "length": 2}, BadRequest, "length: 2, but data has 1"),
]


@pytest.mark.parametrize(("given_", "kind", "why"), REFUSED)
def test_frames_that_cannot_be(given_, kind, why):
    with pytest.raises(kind, match=why):
        can.frame(**given_)


@pytest.mark.parametrize("length", FD_LENGTHS)
def test_every_length_of_can_fd(length):
    assert can.frame(1, bytes(length), fd=True).length == length


def test_filters_compare_the_bits_of_the_mask_in_their_own_format():
    mask = Mask(0x100, 0x700, False)
    assert can.accepts([mask], can.frame(0x1FF))
    assert not can.accepts([mask], can.frame(0x200))
    assert not can.accepts([mask], can.frame(0x100, extended=True))
    assert can.accepts(None, can.frame(0x200))
    assert not can.accepts([], can.frame(0x200))
    assert can.accepts([], Frame(0.0, 4, ERROR, 8, bytes(8)))


def test_the_key_tells_identifiers_of_both_formats_apart():
    assert can.frame(5).key != can.frame(5, extended=True).key


def test_bits_on_the_wire():
    # ISO 11898-1: 44 (standard) or 64 bits (extended) and data, and 3 of interframe
    # space.
    assert can.bits(can.frame(1, bytes(8))) == (111, 0)
    assert can.bits(can.frame(1, bytes(8), extended=True)) == (131, 0)
    assert can.bits(can.frame(1, remote=True, length=8)) == (47, 0)
    slow, fast = can.bits(can.frame(1, bytes(64), fd=True, brs=True))
    assert slow < 40
    assert fast > 512
    assert can.bits(can.frame(1, bytes(64), fd=True)) == (slow + fast, 0)
    short, long = (
        can.bits(can.frame(1, bytes(size), fd=True))[0] - 8 * size for size in (16, 20)
    )
    assert long - short == 4  # the CRC of 21 bits instead of 17


TROUBLES = [  # linux/can/error.h
    (0x040, "", "off", ("bus_off",), "bus off"),
    (0x004, "0030", "passive", ("controller",), "receive passive, transmit passive"),
    (0x004, "0008", "warning", ("controller",), "transmit warning"),
    (0x004, "0040", "active", ("controller",), "active again"),
    (0x100, "", "active", ("restarted",), "restarted"),
    (0x020, "", None, ("no_acknowledge",), "nobody acknowledged"),
    (0x088, "000004", None, ("protocol", "bus_error"), "bit stuffing"),
    (0x002, "", None, ("lost_arbitration",), "arbitration lost"),
    (0x10000, "", None, (), "unknown error 0x10000"),
]


@pytest.mark.parametrize(("id_", "data", "state", "kinds", "text"), TROUBLES)
def test_error_frames_in_words(id_, data, state, kinds, text):
    found = can.error_report(Frame(0.0, id_, ERROR, 8, bytes.fromhex(data)))
    assert (found.state, found.kinds) == (state, kinds)
    assert text in found.text


def test_error_counters_of_an_error_frame():
    found = can.error_report(
        Frame(0.0, 0x204, ERROR, 8, bytes.fromhex("0008000000006000"))
    )
    assert (found.tx_errors, found.rx_errors) == (0x60, 0)
    assert can.error_report(Frame(0.0, 0x40, ERROR, 8, bytes(8))).tx_errors is None


@given(st.integers(0, 0x1FFFFFFF), st.binary(max_size=8))
def test_any_error_frame_has_words(id_, data):
    assert can.error_report(Frame(0.0, id_, ERROR, 8, data)).text


def test_j1939_identifiers():
    # SAE J1939-71: EEC1 is PGN 61444, sent by the engine (source 0); a request (PGN
    # 59904) has a destination.
    assert (j1939.pgn(0x0CF00400), j1939.source(0x0CF00400)) == (61444, 0)
    assert j1939.destination(0x0CF00400) == j1939.BROADCAST
    assert (
        j1939.pgn(0x18EA17F9),
        j1939.source(0x18EA17F9),
        j1939.destination(0x18EA17F9),
    ) == (59904, 0xF9, 0x17)


@given(st.integers(0, 0x1FFFFFFF), st.integers(0, 0x1FFFFFFF), st.booleans())
def test_a_filter_of_a_parameter_group_lets_that_group_pass_and_no_other(
    id_, other, related
):
    if related:  # another priority, source, and second byte
        other = id_ ^ other & 0x1C00FFFF
    passes = Mask(id_, j1939.mask(id_), True).matches(can.frame(other, extended=True))
    assert passes is (j1939.pgn(other) == j1939.pgn(id_))
