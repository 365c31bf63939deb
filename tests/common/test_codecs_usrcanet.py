"""Framing of the USR-CANET200."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.codecs import can, usrcanet
from busbar.codecs.can import EXTENDED, REMOTE, Frame
from busbar.errors import BadRequest, ProtocolError

VECTORS = [  # docs/protocols/can.md, 5
    (can.frame(0xABCDEF, b"\1\2\3\4", extended=True), "84 00abcdef 01020304 00000000"),
    (
        can.frame(0x123456, extended=True, remote=True, length=3),
        "c3 00123456 0000000000000000",
    ),
    (can.frame(0x123, bytes(range(8))), "08 00000123 0001020304050607"),
]


@pytest.mark.parametrize(("frame", "text"), VECTORS)
def test_a_vector_both_ways(frame, text):
    raw = bytes.fromhex(text)
    assert usrcanet.encode(frame) == raw
    assert usrcanet.UsrCanetReader().feed(raw, 0.0) == [frame]


@st.composite
def frames(draw):
    flags = draw(st.sampled_from([0, EXTENDED, REMOTE, EXTENDED | REMOTE]))
    id_ = draw(st.integers(0, 0x1FFFFFFF if flags & EXTENDED else 0x7FF))
    length = draw(st.integers(0, 8))
    return Frame(
        1.0,
        id_,
        flags,
        length,
        b"" if flags & REMOTE else draw(st.binary(min_size=length, max_size=length)),
    )


@given(st.lists(frames(), max_size=10), st.data())
def test_frames_come_back_however_the_stream_is_cut(sent, data):
    raw = b"".join(map(usrcanet.encode, sent))
    reader, found = usrcanet.UsrCanetReader(), []
    while raw:
        cut = data.draw(st.integers(1, len(raw)))
        found += reader.feed(raw[:cut], 1.0)
        raw = raw[cut:]
    assert found == sent


def test_a_record_that_cannot_be_costs_itself_several_in_a_row_the_link():
    reader, good = usrcanet.UsrCanetReader(), usrcanet.encode(VECTORS[2][0])
    bad = bytes.fromhex("09000001230001020304050607")
    assert reader.feed(bad + good + bad, 0.0) == [VECTORS[2][0]]
    assert reader.skipped == 2
    with pytest.raises(ProtocolError, match="3 records in a row"):
        reader.feed(bad * 2, 0.0)
    assert reader.feed(good, 0.0) == [VECTORS[2][0]]


def test_it_has_no_can_fd():
    with pytest.raises(BadRequest, match="fd: a USR-CANET200 has no CAN FD"):
        usrcanet.encode(can.frame(1, fd=True))


def test_records_that_cannot_be_cost_the_stream_only_in_a_row():
    reader, wrong, right = (
        usrcanet.UsrCanetReader(),
        b"\x30" + bytes(12),
        usrcanet.encode(can.frame(7)),
    )
    for _ in range(3):
        assert [frame.id for frame in reader.feed(wrong * 2 + right, 0.0)] == [7]
    assert reader.skipped == 6
