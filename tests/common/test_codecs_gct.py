"""GCT: vectors of the original encoder, round trips, disorder, limits."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.codecs import gct
from busbar.codecs.can import cansend_text, parse
from busbar.codecs.can import frame as can_frame
from busbar.codecs.gct import (
    BROADCAST,
    Ddp,
    Decoder,
    Heartbeat,
    MonitoringData,
    MonitoringRequest,
    SysCtrl,
)
from busbar.codecs.gct.ddp import OPEN_LIMIT, TIMEOUT
from busbar.errors import OutOfRange

# Printed by the original encoder in Rust (docs/protocols/gct.md, 7; its numbers). 05 is
# what a command of more than 9 bits became.
VECTORS = {
    "01": (Heartbeat(12, 0xABCD), ["1C33F800#CDAB"]),
    "02": (Heartbeat(0, 1), ["1C03F800#0100"]),
    "04": (SysCtrl(0x7E, BROADCAST, 1, query=True), ["03FBF805#"]),
    "06": (
        MonitoringData(12, 23, 53, bytes.fromhex("01020304")),
        ["0E33FDF5#01020304"],
    ),
    "07": (MonitoringData(5, 0, 0, bytes.fromhex("0000803F")), ["0E17F800#0000803F"]),
    "08": (MonitoringData(5, 31, 63), ["0E17FFFF#"]),
    "10": (
        MonitoringRequest(0x7E, BROADCAST, 0, (0, 63)),
        ["11FBF800#0100000000000080"],
    ),
    "11": (
        Ddp(12, 34, bytes(range(13))),
        ["18311100#0001020304050607", "18311120#08090A0B0CACDD"],
    ),
    "13": (Ddp(0x7E, 5, b"\x81"), ["19F82800#816059"]),
    "14": (Ddp(0x7E, 5, b"\x81", 2), ["19F82C00#816059"]),
    "15": (Ddp(0x7E, 5, b""), ["19F82800#FFFF"]),
    "17": (
        Ddp(1, 2, bytes.fromhex("85010203040506"), 2),
        ["18041000#85010203040506FA", "18041401#9C"],
    ),
}


def frames(message):
    return [can_frame(id_, data, extended=True) for id_, data in gct.encode(message)]


def fed(decoder, messages, time=0.0):
    found = [decoder.feed(each.id, each.data, time) for each in messages]
    return [each for each in found if each is not None]


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_both_ways(name):
    message, texts = VECTORS[name]
    assert [cansend_text(each) for each in frames(message)] == texts
    assert fed(Decoder(), [parse(text) for text in texts]) == [message]


def test_long_vectors_by_their_last_frames():
    first = frames(Ddp(1, 2, bytes(range(0x3D))))
    assert [cansend_text(each) for each in first][::7] == [
        "18041700#0001020304050607",
        "180417E0#38393A3B3C554E",
    ]
    second = frames(Ddp(1, 2, bytes(range(0x3E)), 2))
    assert [cansend_text(each) for each in second][::7] == [
        "18041000#0001020304050607",
        "18041407#38393A3B3C3DA3AE",
    ]


def test_a_short_request_is_extended_with_zeros():
    (message,) = fed(Decoder(), [parse("11FBF800#0102")])
    assert message == MonitoringRequest(0x7E, BROADCAST, 0, (0, 9))  # mask 0x201


def test_a_command_that_the_original_cut_off_decodes_as_what_was_on_the_wire():
    (message,) = fed(Decoder(), [parse("020417FC#0102030405060708")])  # vector 05
    assert message == SysCtrl(1, 2, 511, data=bytes(range(1, 9)))


@pytest.mark.parametrize(
    "text",
    ["1FFFF800#0102", "1C33F800#CD", "03FBF807#", "00000000#", "1FFFFFFF#"],
    ids=["source 7F", "short heartbeat", "value and query", "type 0", "type 15"],
)
def test_what_is_no_message(text):
    assert fed(Decoder(), [parse(text)]) == []


def test_more_data_than_a_heartbeat_needs_is_ignored():
    assert fed(Decoder(), [parse("1C33F800#CDAB01020304")]) == [Heartbeat(12, 0xABCD)]


REFUSED = [
    (Heartbeat(BROADCAST, 1), "src: 127 is not 0 to 126"),
    (Heartbeat(-1, 1), "src: -1"),
    (Heartbeat(1, 0), "product: 0 is not 1 to 65534"),
    (Heartbeat(1, 0xFFFF), "product: 65535"),
    (SysCtrl(1, 2, 512), "command: 512 is not 0 to 511"),
    (SysCtrl(1, 2, 1023), "command: 1023"),
    (SysCtrl(1, 128, 1), "dst: 128 is not 0 to 127"),
    (SysCtrl(1, 2, 1, data=bytes(9)), "data: 9 bytes is not 0 to 8"),
    (SysCtrl(1, 2, 1, value=True, query=True), "not both"),
    (MonitoringData(1, 32, 0), "group: 32 is not 0 to 31"),
    (MonitoringData(1, 0, 64), "reading: 64 is not 0 to 63"),
    (MonitoringData(1, 0, 0, bytes(9)), "data: 9 bytes"),
    (MonitoringRequest(1, 2, 32, ()), "group: 32"),
    (MonitoringRequest(1, 2, 0, (64,)), "readings: 64"),
    (Ddp(1, 2, bytes(62)), "data: 62 bytes; DDP version 1 has 0 to 61"),
    (Ddp(1, 2, bytes(2046), 2), "data: 2046 bytes; DDP version 2 has 1 to 2045"),
    (Ddp(1, 2, b"", 2), "data: 0 bytes; DDP version 2 has 1"),
    (Ddp(1, 2, b"x", 3), "version: 3"),
]


@pytest.mark.parametrize(("message", "why"), REFUSED)
def test_what_the_wire_has_no_room_for_is_refused(message, why):
    with pytest.raises(OutOfRange, match=why):
        gct.encode(message)


@pytest.mark.parametrize(("version", "lengths"), [(1, range(62)), (2, range(1, 2046))])
def test_every_length_comes_back_exactly_once(version, lengths):
    pattern = random.Random(7).randbytes(2045)
    decoder = Decoder()
    for length in lengths:
        message = Ddp(1, 2, pattern[:length], version)
        assert fed(decoder, frames(message)) == [message]
    assert decoder.lost == 0


@given(st.data())
def test_many_senders_may_interleave_and_parts_of_version_2_come_in_any_order(data):
    senders = st.tuples(st.integers(0, 126), st.integers(0, 126))
    messages = [
        Ddp(
            src,
            dst,
            data.draw(st.binary(min_size=9, max_size=61)),
            data.draw(st.sampled_from((1, 2))),
        )
        for src, dst in data.draw(
            st.lists(senders, min_size=2, max_size=8, unique=True)
        )
    ]
    queues = [
        frames(message)
        if message.version == 1
        else data.draw(st.permutations(frames(message)))
        for message in messages
    ]
    decoder, found = Decoder(), []
    while queues:
        queue = data.draw(st.sampled_from(queues))
        found += fed(decoder, [queue.pop(0)])
        queues = [each for each in queues if each]
    assert sorted(found, key=repr) == sorted(messages, key=repr)


@given(st.binary(min_size=20, max_size=2045), st.randoms(use_true_random=False))
def test_parts_of_version_2_may_come_in_any_order_the_first_one_too(data, order):
    parts = frames(Ddp(1, 2, data, 2))
    order.shuffle(parts)
    found = fed(Decoder(), parts)
    assert Ddp(1, 2, data, 2) in found


@given(
    st.lists(st.binary(min_size=9, max_size=100), min_size=2, max_size=6),
    st.randoms(use_true_random=False),
)
def test_lost_frames_cost_their_message_only(messages, chance):
    decoder, found, kept = Decoder(), [], []
    for number, data in enumerate(messages):
        parts = frames(Ddp(1, 2, bytes((number,)) + data, 2))
        if number % 2:  # every second one arrives whole
            kept.append(bytes((number,)) + data)
        else:
            del parts[chance.randrange(len(parts))]
        found += fed(decoder, parts)
    assert [each.data for each in found if each.data in kept] == kept


def test_a_wrong_crc_is_counted_and_the_next_message_is_fine():
    decoder = Decoder()
    first, last = frames(Ddp(1, 2, bytes(range(10)), 2))
    assert fed(decoder, [first, last._replace(data=b"\1\2\3\4")]) == []
    assert decoder.lost == 1
    assert fed(decoder, [first, last]) == [Ddp(1, 2, bytes(range(10)), 2)]


def test_a_message_whose_parts_take_too_long_is_lost():
    decoder = Decoder()
    first, last = frames(Ddp(1, 2, bytes(range(13))))
    assert fed(decoder, [first], 0.0) == []
    assert fed(decoder, [last], TIMEOUT + 0.01) == []
    assert decoder.lost == 1
    assert fed(decoder, [first], 5.0) + fed(decoder, [last], 5.0 + TIMEOUT) == [
        Ddp(1, 2, bytes(range(13)))
    ]


def test_what_waits_too_long_goes_when_any_other_frame_comes():
    decoder = Decoder()
    for src in range(5):
        fed(decoder, frames(Ddp(src, 9, bytes(20), 2))[:1], src / 10)
    fed(decoder, frames(Ddp(7, 9, bytes(20), 2))[:1], TIMEOUT + 0.25)
    assert (len(decoder._ddp), decoder.lost) == (3, 3)  # 3, 4 and 7 are within the time


def test_a_clock_that_is_set_back_costs_the_messages_under_way_only():
    decoder = Decoder()
    first, last = frames(Ddp(1, 2, bytes(range(13))))
    assert fed(decoder, [first], 1000.0) == []
    assert fed(decoder, [first], 10.0) + fed(decoder, [last], 10.1) == [
        Ddp(1, 2, bytes(range(13)))
    ]
    assert (len(decoder._ddp), decoder.lost) == (0, 1)
    assert fed(decoder, [first], 20.0) + fed(decoder, [last], 19.99) == [
        Ddp(1, 2, bytes(range(13)))
    ]  # a little is none


def test_senders_that_begin_and_never_end_cost_bounded_memory():
    decoder = Decoder()
    for src in range(127):
        for dst in range(127):
            fed(decoder, frames(Ddp(src, dst, bytes(20), 2))[:1])
    assert len(decoder._ddp) == OPEN_LIMIT
    assert decoder.lost == 127 * 127 - OPEN_LIMIT


@given(
    st.integers(0, 0x1FFFFFFF),
    st.binary(max_size=8),
    st.lists(st.tuples(st.integers(0, 0x7FF), st.binary(max_size=8))),
)
def test_garbage_gives_messages_or_nothing(id_, data, more):
    decoder = Decoder()
    decoder.feed(id_, data, 0.0)
    for type_data, part in more:
        decoder.feed(12 << 25 | 1 << 18 | 2 << 11 | type_data, part, 0.0)
    message = Ddp(1, 2, b"good after garbage, whatever came before it")
    assert fed(decoder, frames(message))[-1:] == [message]
