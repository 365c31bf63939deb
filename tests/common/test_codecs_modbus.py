"""Modbus, bytes and requests both ways.

PDU is MODBUS Application Protocol Specification V1.1b3, LINE is MODBUS over Serial Line
V1.02, TCP is Messaging on TCP/IP Implementation Guide V1.0b; their examples are the
vectors.
"""

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busbar.codecs import modbus
from busbar.codecs.modbus import (
    Ddp,
    Diagnostics,
    Frame,
    Identify,
    MaskWrite,
    Objects,
    Raw,
    Read,
    ReadWrite,
    WriteCoil,
    WriteCoils,
    WriteRegister,
    WriteRegisters,
    values,
)
from busbar.codecs.modbus.values import (
    Bcd,
    Bytes,
    Field,
    Plain,
    Scaled,
    Text,
    number,
    ordered,
)
from busbar.errors import BusbarError, DeviceRefused, OutOfRange, ProtocolError


def bits(text):
    return [each == "1" for each in text.replace(" ", "")]


# request, its PDU, PDU of the answer, what it says, source
VECTORS = [
    (
        Read("coil", 0x13, 19),
        "0100130013",
        "0103cd6b05",
        bits("10110011 11010110 101"),
        "PDU 6.1",
    ),
    (
        Read("discrete", 0xC4, 22),
        "0200c40016",
        "0203acdb35",
        bits("00110101 11011011 101011"),
        "PDU 6.2",
    ),
    (
        Read("holding", 0x6B, 3),
        "03006b0003",
        "0306022b00000064",
        bytes.fromhex("022b00000064"),
        "PDU 6.3",
    ),
    (Read("input", 8, 1), "0400080001", "0402000a", b"\x00\x0a", "PDU 6.4"),
    (WriteCoil(0xAC, True), "0500acff00", "0500acff00", None, "PDU 6.5"),
    (WriteRegister(1, b"\0\x03"), "0600010003", "0600010003", None, "PDU 6.6"),
    (Diagnostics(0, b"\xa5\x37"), "080000a537", "080000a537", b"\xa5\x37", "PDU 6.8"),
    (
        WriteCoils(0x13, tuple(bits("10110011 10"))),
        "0f0013000a02cd01",
        "0f0013000a",
        None,
        "PDU 6.11",
    ),
    (
        WriteRegisters(1, bytes.fromhex("000a0102")),
        "100001000204000a0102",
        "1000010002",
        None,
        "PDU 6.12",
    ),
    (MaskWrite(4, 0xF2, 0x25), "16000400f20025", "16000400f20025", None, "PDU 6.16"),
    (
        ReadWrite(3, 6, 14, bytes.fromhex("00ff00ff00ff")),
        "1700030006000e00030600ff00ff00ff",
        "170c00fe0acd00010003000d00ff",
        bytes.fromhex("00fe0acd00010003000d00ff"),
        "PDU 6.17",
    ),
    (
        Identify(1, 0),
        "2b0e0100",
        "2b0e010100000200"
        + "16"
        + b"Company identification".hex()
        + "0205"
        + b"V2.11".hex(),
        Objects({0: b"Company identification", 2: b"V2.11"}),
        "PDU 6.21",
    ),
    (
        Ddp(5, 5, b"\x0a"),
        "440502850a",
        "4405020102",
        b"\x01\x02",
        "comsrv, layout as read",
    ),
]


@pytest.mark.parametrize(
    ("request_", "pdu", "answer", "says", "source"),
    VECTORS,
    ids=[row[4] for row in VECTORS],
)
def test_requests_and_answers_are_those_of_the_specification(
    request_, pdu, answer, says, source
):
    assert request_.encode().hex() == pdu
    assert modbus.decode(bytes.fromhex(pdu)) == request_
    assert modbus.request_length(bytes.fromhex(pdu)) == len(pdu) // 2
    assert modbus.check(request_, bytes.fromhex(answer)) == says
    assert request_.length(bytes.fromhex(answer)) == len(answer) // 2
    with pytest.raises(ProtocolError):
        modbus.check(request_, bytes.fromhex(answer)[:-1])


@pytest.mark.parametrize(
    "request_",
    [VECTORS[0][0], VECTORS[2][0], VECTORS[10][0], VECTORS[11][0], VECTORS[12][0]],
)
def test_a_server_encodes_the_answer_that_a_client_reads(request_):
    says = next(row[3] for row in VECTORS if row[0] == request_)
    assert modbus.check(request_, request_.reply(says)) == says


def test_an_identification_in_parts_says_where_the_next_begins():
    part = Objects({0: b"a", 1: b"bc"}, 2)
    assert modbus.check(Identify(), Identify().reply(part)) == part


def test_what_another_kind_of_function_43_says_is_no_identification():
    answer = bytearray(Identify().reply(Objects({0: b"a"})))
    answer[1] = 13  # CANopen
    with pytest.raises(ProtocolError, match="is no identification"):
        modbus.check(Identify(), bytes(answer))


def test_an_exception_has_its_number_and_name():
    """PDU 7: coil 1185 does not exist."""
    with pytest.raises(
        DeviceRefused, match="exception 2: illegal data address"
    ) as caught:
        modbus.check(Read("coil", 0x4A1, 1), bytes.fromhex("8102"))
    assert caught.value.detail == {
        "code": 2,
        "text": "illegal data address",
        "function": 1,
    }
    assert modbus.exception(1, 2).hex() == "8102"


def test_the_mask_of_the_specification():
    """PDU 6.16: 0x12 becomes 0x17."""
    assert MaskWrite(4, 0xF2, 0x25).apply(0x12) == 0x17


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        ("6500", 1),
        ("0300000000", 3),
        ("03ffff0002", 2),
        ("030000007e", 3),
        ("0300", 3),
        ("0500000001", 3),
        # FC15 without its byte count, as comsrv sends it (docs/protocols/modbus.md, 10)
        ("0f0003000bff07", 3),
    ],
)
def test_a_server_answers_what_is_no_request_with_an_exception(pdu, code):
    with pytest.raises(DeviceRefused) as caught:
        modbus.decode(bytes.fromhex(pdu))
    assert caught.value.detail["code"] == code


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: Read("holding", 0, 126),
            ("126 holding registers to read; allowed: 1 to 125"),
        ),
        (lambda: Read("coil", 0, 2001), "allowed: 1 to 2000"),
        (lambda: Read("input", 65535, 2), "address 65535 with 2"),
        (lambda: Read("input", -1, 1), "address -1"),
        (lambda: WriteRegisters(0, bytes(2 * 124)), "allowed: 1 to 123"),
        (lambda: WriteRegisters(0, bytes(3)), "1.5 registers"),
        (lambda: WriteCoils(0, (True,) * 1969), "allowed: 1 to 1968"),
        (lambda: ReadWrite(0, 1, 0, bytes(2 * 122)), "allowed: 1 to 121"),
        (lambda: MaskWrite(0, 65536, 0), "mask 65536"),
        (lambda: Raw(128), "function 128"),
        (lambda: Raw(1, bytes(253)), "253 bytes"),
        (lambda: Diagnostics(0, b"x"), "1 bytes"),
        (lambda: Ddp(0, 128), "command 128"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_before_it_is_sent(make, says):
    with pytest.raises(OutOfRange, match=says):
        make()


@pytest.mark.parametrize(
    "request_",
    [Read("holding", 0, 125), Read("coil", 0, 2000), WriteRegisters(0, bytes(246))],
)
def test_the_limits_themselves_are_allowed(request_):
    assert modbus.decode(request_.encode()) == request_


def expecting(*requests):
    """Return the lengths of answers to these requests, as RtuReader wants them."""
    known = {(unit, request.function): request for unit, request in requests}

    def length(unit, head):
        if not head or (unit, head[0] & 0x7F) not in known:
            return None
        return 2 if head[0] & 0x80 else known[unit, head[0]].length(head)

    return length


ANSWER = Frame(17, bytes.fromhex("0306022b00000064"))
LENGTH = expecting((17, Read("holding", 0x6B, 3)))
FRAMES = [
    ("rtu", Frame(2, b"\x07"), "02074112", "LINE 6.2.2"),
    (
        "rtu",
        Frame(0x20, bytes.fromhex("440502850a")),
        "20440502850ab4ef",
        "comsrv, layout as read",
    ),
    (
        "tcp",
        Frame(0xFF, bytes.fromhex("0300040001"), 0x1501),
        "150100000006ff0300040001",
        "TCP 4.4.1",
    ),
    (
        "ascii",
        Frame(17, bytes.fromhex("03006b0003")),
        b":1103006B00037E\r\n".hex(),
        "LINE 2.5.2",
    ),
]


@pytest.mark.parametrize(
    ("framing", "frame", "data", "source"), FRAMES, ids=[row[3] for row in FRAMES]
)
def test_frames_are_those_of_the_specifications(framing, frame, data, source):
    assert modbus.encode(framing, frame).hex() == data
    lengths = lambda unit, head: len(frame.pdu)  # noqa: E731
    assert modbus.reader(framing, lengths).feed(bytes.fromhex(data)) == [frame]


@pytest.mark.parametrize("framing", ["tcp", "rtu", "ascii"])
@settings(deadline=None)
@given(data=st.data())
def test_frames_come_whole_however_they_are_cut(framing, data):
    frames = [
        ANSWER._replace(transaction=number if framing == "tcp" else None)
        for number in range(3)
    ]
    wire = b"".join(modbus.encode(framing, frame) for frame in frames)
    reader, found = modbus.reader(framing, LENGTH), []
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        found += reader.feed(wire[:size])
        wire = wire[size:]
    assert found == frames
    assert reader.wrong == ""


@pytest.mark.parametrize("framing", ["tcp", "rtu", "ascii"])
@settings(deadline=None)
@given(garbage=st.binary(max_size=1000))
def test_garbage_costs_itself_only(framing, garbage):
    """After silence the next frame is found, and garbage never raises."""
    frame = ANSWER._replace(transaction=1 if framing == "tcp" else None)
    reader = modbus.reader(framing, LENGTH)
    reader.feed(garbage)
    reader.silence()
    assert reader.feed(modbus.encode(framing, frame)) == [frame]


@settings(deadline=None)
@given(garbage=st.binary(max_size=20).filter(lambda noise: 17 not in noise))
def test_an_rtu_frame_is_found_behind_noise_without_any_silence(garbage):
    reader = modbus.reader("rtu", LENGTH)
    assert reader.feed(garbage + modbus.encode("rtu", ANSWER)) == [ANSWER]
    assert bool(garbage) == bool(reader.wrong)


def test_a_wrong_crc_or_lrc_or_header_is_told():
    for framing, index in (("rtu", 5), ("ascii", 5), ("tcp", 2)):
        wire = bytearray(modbus.encode(framing, ANSWER))
        wire[index] ^= 1
        reader = modbus.reader(framing, LENGTH)
        assert reader.feed(bytes(wire)) == []
        assert reader.wrong


def test_silence_ends_an_rtu_frame_whose_length_nobody_knows():
    reader = modbus.reader("rtu", lambda unit, head: None)
    wire = modbus.encode("rtu", Frame(1, b"\x65abc"))
    assert reader.feed(wire) == []
    assert reader.silence() == [Frame(1, b"\x65abc")]
    reader.feed(wire[:-1])
    assert reader.silence() == []
    assert "no frame" in reader.wrong


@pytest.mark.parametrize(
    ("framing", "noise", "says"),
    [
        ("rtu", b"\xaa" * 10_000, "512 bytes that are no frame"),
        ("ascii", b":" + b"0" * 10_000, "10001 characters without CR LF"),
        (
            "tcp",
            bytes.fromhex("0001000000ff01"),
            ("an MBAP header of protocol 0 and length 255"),
        ),
    ],
)
def test_what_never_ends_is_not_kept(framing, noise, says):
    reader = modbus.reader(framing, LENGTH)
    assert reader.feed(noise) == []
    reader.silence()
    assert says in reader.wrong


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=253))
def test_decode_gives_a_request_or_an_exception_and_nothing_else(pdu):
    try:
        assert modbus.decode(pdu).encode() == pdu
    except DeviceRefused as error:
        assert error.detail["code"] in (1, 2, 3)


@settings(deadline=None)
@given(st.sampled_from([row[0] for row in VECTORS]), st.binary(max_size=253))
def test_an_answer_is_read_or_refused_and_nothing_else(request_, pdu):
    try:
        modbus.check(request_, pdu)
    except BusbarError as error:
        assert isinstance(error, DeviceRefused | ProtocolError)
    length = request_.length(pdu)
    assert length is None or length >= 2


# The float 123456.0 is 0x47F12000 (IEEE 754): its bytes A B C D, in the orders that
# data sheets write with them. ABCD and CDAB are also what pymodbus means (below), and
# mbpoll with and without -B (tests/modbus_bridge/test_peers.py).
ORDERS = [
    ("big", "47f12000"),
    ("little", "0020f147"),
    ("big_swap", "f1470020"),
    ("little_swap", "200047f1"),
]


@pytest.mark.parametrize(("order", "data"), ORDERS)
def test_the_four_orders(order, data):
    assert Plain("float32", order).encode(123456.0).hex() == data
    assert Plain("float32", order).decode(bytes.fromhex(data)) == 123456.0
    assert Plain("uint32", order).decode(bytes.fromhex(data)) == 0x47F12000


@pytest.mark.parametrize(
    ("order", "word_order"), [("big", "big"), ("little_swap", "little")]
)
@pytest.mark.parametrize(
    "type_",
    ["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"],
)
def test_numbers_are_as_pymodbus_has_them(type_, order, word_order):
    from pymodbus.client.mixin import ModbusClientMixin as Peer

    value = 1234.0 if "float" in type_ else 1234
    registers = Peer.convert_to_registers(
        value, Peer.DATATYPE[type_.upper()], word_order=word_order
    )
    assert Plain(type_, order).encode(value) == struct.pack(
        f">{len(registers)}H", *registers
    )


NUMBERS = {
    "int16": 1,
    "uint16": 1,
    "int32": 2,
    "uint32": 2,
    "int64": 4,
    "uint64": 4,
    "float16": 1,
    "float32": 2,
    "float64": 4,
    "bcd16": 1,
    "bcd32": 2,
    "bcd64": 4,
}


@pytest.mark.parametrize("order", ["big", "little", "big_swap", "little_swap"])
@pytest.mark.parametrize("type_", NUMBERS)
@settings(deadline=None)
@given(data=st.data())
def test_every_number_comes_back_in_every_order(type_, order, data):
    codec = number(type_, order)
    assert codec.registers == NUMBERS[type_]
    if codec.bounds is None:
        value = data.draw(st.floats(width=16 * NUMBERS[type_]))
        back = codec.decode(codec.encode(value))
        assert codec.encode(back) == codec.encode(value)
        assert len(repr(back)) <= len(repr(value))
        return
    value = data.draw(st.integers(*codec.bounds))
    assert codec.decode(codec.encode(value)) == value
    for beyond in (codec.bounds[0] - 1, codec.bounds[1] + 1):
        with pytest.raises(OutOfRange):
            codec.encode(beyond)


@settings(deadline=None)
@given(st.binary(max_size=16).filter(lambda data: len(data) % 2 == 0))
def test_an_order_is_its_own_inverse(data):
    for order, _ in ORDERS:
        assert ordered(ordered(data, order), order) == data


def test_a_float_too_large_for_its_type_is_refused():
    with pytest.raises(OutOfRange, match="does not fit float32"):
        Plain("float32").encode(1e39)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("float16", 22.1),
        ("float32", 22.1),
        ("float32", 0.1),
        ("float32", 1087.288),
        ("float64", 22.1),
    ],
)
def test_a_float_is_read_as_it_was_meant(type_, value):
    """22.1 as a float32 is 22.100000381469727, which nobody wrote."""
    assert Plain(type_).decode(Plain(type_).encode(value)) == value


@pytest.mark.parametrize(
    ("type_", "value"),
    [("float32", 33554432.0), ("float16", 65504.0), ("float32", 2.0**127)],
)
def test_a_float_that_is_whole_stays_what_it_is(type_, value):
    assert Plain(type_).decode(Plain(type_).encode(value)) == value


def test_bcd():
    assert Bcd("bcd32").encode(12345678).hex() == "12345678"
    assert Bcd("bcd32", "little_swap").decode(bytes.fromhex("56781234")) == 12345678
    with pytest.raises(ProtocolError, match="12a4 is not bcd16"):
        Bcd("bcd16").decode(b"\x12\xa4")


def test_text_is_padded_cut_at_nul_and_swapped():
    assert Text(4).encode("Abc").hex() == "4162630000000000"
    assert Text(4, padding=b" ").encode("Abc") == b"Abc     "
    assert Text(4, padding=b" ").decode(b"Abc  \0xx") == "Abc"
    assert Text(2, swapped=True).encode("Abcd") == b"bAdc"
    assert Text(2, swapped=True).decode(b"bAdc") == "Abcd"
    assert Text(4, "utf-16-be").decode(Text(4, "utf-16-be").encode("Öl")) == "Öl"
    # what is behind a nul was never written
    for encoding in ("ascii", "utf-8", "utf-16-be"):
        assert Text(4, encoding).decode("A\0".encode(encoding).ljust(8, b"\xff")) == "A"
    with pytest.raises(OutOfRange, match="has 3 bytes as utf-8; there is room for 2"):
        Text(1, "utf-8").encode("Öl")
    with pytest.raises(OutOfRange, match="cannot be encoded as ascii"):
        Text(4).encode("Öl")
    with pytest.raises(ProtocolError, match="is not ascii text"):
        Text(1).decode(b"\xff\xff")


def test_raw_registers_are_bytes():
    assert Bytes(2).decode(Bytes(2).encode(b"abcd")) == b"abcd"
    with pytest.raises(OutOfRange, match="3 bytes; 2 registers have 4"):
        Bytes(2).encode(b"abc")


def test_bits_and_fields():
    assert Field(4).decode(b"\x00\x10") is True
    assert Field(4, 3).decode(b"\x00\x50") == 5
    assert (Field(4, 3).encode(5).hex(), Field(4, 3).mask) == ("0050", 0x70)
    with pytest.raises(OutOfRange, match="8 does not fit 3 bits; allowed: 0 to 7"):
        Field(4, 3).encode(8)


def test_scaled_values_have_no_noise_and_go_back():
    tenth = Scaled(Plain("int16"), 0.1)
    assert tenth.decode(b"\x00\x03") == 0.3
    assert tenth.encode(5.03) == b"\x00\x32"  # rounded to the nearest
    assert tenth.bounds == (-3276.8, 3276.7)
    with pytest.raises(OutOfRange, match="it is not finite"):
        Scaled(Plain("float64"), 0.001).encode(1e306)
    assert Scaled(Plain("uint16"), -0.5, 10).bounds == (-32757.5, 10)
    assert Scaled(Plain("float32"), 2.0).decode(Plain("float32").encode(1.5)) == 3.0
    assert math.isnan(
        Scaled(Plain("float32"), 2.0).decode(Plain("float32").encode(math.nan))
    )
    with pytest.raises(OutOfRange):
        tenth.encode(3276.8)


@settings(deadline=None)
@given(
    st.integers(-32768, 32767),
    st.sampled_from([0.1, 0.01, 2.0, -0.5, 1e-6]),
    st.sampled_from([0.0, -40.0, 0.05]),
)
def test_every_scaled_value_comes_back(raw, scale, offset):
    codec = Scaled(Plain("int16"), scale, offset)
    assert codec.encode(codec.decode(Plain("int16").encode(raw))) == Plain(
        "int16"
    ).encode(raw)


@pytest.mark.parametrize(
    ("type_", "registers", "value"),
    [
        ("int24", "ff85ee", -31250),
        ("uint24", "00123456", 0x123456),
        ("int48", "ffffffffffff", -1),
        ("uint48", "123456789abc", 0x123456789ABC),
        ("mod10k32", "0001270f", 19999),
        ("mod10k64", "00010002000304d2", 1_0002_0003_1234),
    ],
)
def test_numbers_of_other_lengths(type_, registers, value):
    data = bytes.fromhex(registers).rjust(4, b"\xff")
    codec = values.number(type_)
    assert codec.decode(data) == value
    assert codec.encode(value) == data
    with pytest.raises(OutOfRange):
        codec.encode(10**19)


def test_digits_above_9999_are_no_counter():
    with pytest.raises(ProtocolError, match="is not mod10k32"):
        values.number("mod10k32").decode(b"\0\0\xff\xff")


def test_dates_and_addresses():
    unix = values.Instant("unix32")
    assert unix.decode(bytes.fromhex("69f49640")) == "2026-05-01T12:02:08Z"
    assert unix.encode("2026-05-01T12:02:08Z").hex() == "69f49640"
    clock = values.Instant("datetime")
    data = bytes.fromhex("001a00050001000c00020008")
    assert clock.decode(data) == "2026-05-01T12:02:08"
    assert clock.decode(clock.encode("2026-05-01T12:02:08")) == "2026-05-01T12:02:08"
    with pytest.raises(ProtocolError, match="is no date and time"):
        clock.decode(bytes(12))
    with pytest.raises(OutOfRange, match="is no date and time"):
        clock.encode("noon")
    assert values.Ipv4().decode(b"\xc0\xa8\x00\x1e") == "192.168.0.30"
    assert values.Ipv4().encode("192.168.0.30") == b"\xc0\xa8\x00\x1e"
    with pytest.raises(OutOfRange, match="is no IPv4 address"):
        values.Ipv4().encode("192.168.0.300")


@pytest.mark.parametrize(
    "raw", [b"AB12 \0 \0", b"  AB12\0\0", b"\0\0AB12  ", b"AB12\0xyz"]
)
def test_text_is_trimmed_of_any_mix_of_blanks_and_nuls(raw):
    assert values.Text(len(raw) // 2).decode(raw) == "AB12"
