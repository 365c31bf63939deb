"""slcan: lines of the manual, as python-can reads them, any chunking, garbage."""

import pytest
from can.interfaces.slcan import slcanBus
from hypothesis import given
from hypothesis import strategies as st

from busbar.codecs import slcan
from busbar.codecs.can import BRS, EXTENDED, FD, FD_LENGTHS, REMOTE, Frame
from busbar.errors import OutOfRange

LINES = [  # LAWICEL CANUSB manual, 2.2, and python-can's letters for CAN FD
    (b"t10021133\r", Frame(0.0, 0x100, 0, 2, b"\x11\x33")),
    (b"T0000010021133\r", Frame(0.0, 0x100, EXTENDED, 2, b"\x11\x33")),
    (b"r1002\r", Frame(0.0, 0x100, REMOTE, 2, b"")),
    (b"R000001002\r", Frame(0.0, 0x100, EXTENDED | REMOTE, 2, b"")),
    (b"t1230\r", Frame(0.0, 0x123, 0, 0, b"")),
    (b"d1239" + b"AB" * 12 + b"\r", Frame(0.0, 0x123, FD, 12, b"\xab" * 12)),
    (
        b"B00000123F" + b"01" * 64 + b"\r",
        Frame(0.0, 0x123, FD | BRS | EXTENDED, 64, b"\x01" * 64),
    ),
]


@st.composite
def frames(draw):
    flags = draw(
        st.sampled_from(
            [0, EXTENDED, REMOTE, EXTENDED | REMOTE, FD, FD | BRS | EXTENDED]
        )
    )
    id_ = draw(st.integers(0, 0x1FFFFFFF if flags & EXTENDED else 0x7FF))
    length = draw(st.sampled_from(FD_LENGTHS) if flags & FD else st.integers(0, 8))
    return Frame(
        1.0,
        id_,
        flags,
        length,
        b"" if flags & REMOTE else draw(st.binary(min_size=length, max_size=length)),
    )


@pytest.mark.parametrize(("line", "frame"), LINES)
def test_a_line_both_ways(line, frame):
    assert slcan.encode(frame) == line
    assert slcan.decode(line[:-1]) == frame


@given(st.lists(frames(), max_size=8), st.data())
def test_frames_come_back_however_the_bytes_are_cut(sent, data):
    text = b"".join(map(slcan.encode, sent))
    reader, found = slcan.SlcanReader(), []
    while text:
        cut = data.draw(st.integers(1, len(text)))
        found += reader.feed(text[:cut], 1.0)
        text = text[cut:]
    assert found == sent
    assert reader.skipped == 0


@pytest.mark.parametrize(
    "line",
    [
        b"t12",
        b"t1239",
        b"t1232AA",
        b"tXYZ0",
        b"t1232AAXX",
        b"T123",
        b"TFFFFFFFF0",
        b"hello",
        b"",
        b"d123G",
        b"t8000",
        b"t-120",
        b"t1_20",
        b"t 120",
        b"t123200 1",
    ],
)
def test_a_line_that_is_no_frame(line):
    assert slcan.decode(line) is None


def test_garbage_is_skipped_and_the_next_frame_is_fine():
    reader = slcan.SlcanReader()
    assert reader.feed(b"\x00\xff garbage\rt1FF\r" + LINES[0][0], 0.0) == [LINES[0][1]]
    assert reader.skipped == 2
    assert reader.feed(b"x" * 100_000, 0.0) == []
    assert reader.skipped == 3
    assert reader.feed(b"\r" + LINES[0][0], 0.0) == [LINES[0][1]]


def test_acknowledgements_are_no_garbage_and_refusals_are_counted():
    reader = slcan.SlcanReader()
    assert reader.feed(b"\r\rz\rZ\rV1013\r\a\a", 0.0) == []
    assert (reader.skipped, reader.refused) == (0, 2)


def test_closing_a_channel_that_is_closed_is_refused_and_no_fault():
    reader = slcan.SlcanReader()
    assert reader.feed(b"\a\r\r", 0.0) == []  # to C, S6, O
    assert reader.refused == 0
    assert reader.feed(b"\a", 0.0) == []
    assert reader.refused == 1


@given(st.binary(max_size=300))
def test_any_bytes_give_frames_or_nothing(data):
    slcan.SlcanReader().feed(data, 0.0)


def test_opening_and_its_bit_rates():
    assert slcan.opening(500_000) == b"C\rS6\rO\r"
    assert slcan.opening(None, listen_only=True) == b"C\rL\r"
    assert slcan.opening(1_000_000, 2_000_000) == b"C\rS8\rY2\rO\r"
    with pytest.raises(OutOfRange, match="no 123456 bit/s; allowed: 10000, 20000"):
        slcan.opening(123_456)


def test_the_bit_rates_are_those_of_python_can():
    ours = {rate: f"S{code}" for rate, code in slcan.BITRATES.items()}
    assert ours.pop(800_000) == ours[750_000]  # the manual, and python-can
    assert ours.items() <= slcanBus._BITRATES.items()
