"""Answers of IEEE 488.2 and SCPI instruments.

Vectors are the printed examples of the manuals that are named.
"""

import itertools
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.codecs.ieee488 import (
    BlockReader,
    decode_block,
    encode_block,
    parse_boolean,
    parse_error,
    parse_number,
    parse_string,
    quote_string,
)
from busbar.errors import BadRequest, ProtocolError

DEFINITE = [
    # HP 8920B, PROGram subsystem: "#16<data byte>..." and NL
    (b"#16abcdef\n", b"abcdef"),
    # HP 1650B, Programming Reference, figure 1-3
    (b"#800000080" + bytes(range(80)) + b"\n", bytes(range(80))),
    # HP E1313/E1413, Command Reference, "Arbitrary Block"
    (b"#41024" + b"\n" * 1025, b"\n" * 1024),
    (
        b"#213" + b"\x06\x08\x09\x02#;'\"\r\n\x00\xff*\n",
        b"\x06\x08\x09\x02#;'\"\r\n\x00\xff*",
    ),  # EXFO IQS-600, "# 2 1 3"
    (b"#10\n", b""),
    (b"#15hello\r\n", b"hello"),
]
INDEFINITE = [
    # HP E1313/E1413: "#0<byte><byte><byte><byte><NL^END>"
    (b"#0\x01\x02\x03\x04\n", b"\x01\x02\x03\x04"),
    (b"#0a\nb\n\n", b"a\nb\n"),
    (b"#0\n", b""),
]
BAD = [
    b"+1.5E+00\n",
    b"#A3abc\n",
    b"#H1F\n",
    b"#3 12abc\n",
    b"#2+5hello\n",
    b"#21_0123456789\n",
    b"\n",
    b"#\n",
    b" #15hello\n",
]


def read(
    reader: BlockReader, chunks: list[bytes]
) -> tuple[list[bytes], list[ProtocolError]]:
    """Feed the chunks and collect what the reader says."""
    payloads: list[bytes] = []
    errors: list[ProtocolError] = []
    for chunk in chunks:
        reader.feed(chunk)
        while True:
            try:
                payload = reader.message()
            except ProtocolError as error:
                errors.append(error)
                continue
            if payload is None:
                break
            payloads.append(payload)
    return payloads, errors


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@pytest.mark.parametrize(("message", "payload"), DEFINITE + INDEFINITE)
def test_a_whole_message_decodes(message, payload):
    assert decode_block(message) == payload


def test_the_block_of_the_standard_encodes_with_the_shortest_length_field():
    assert encode_block(b"abcdef") == b"#16abcdef"
    assert encode_block(b"") == b"#10"
    assert encode_block(bytes(1024)) == b"#41024" + bytes(1024)


@given(st.binary(max_size=2000))
def test_a_block_round_trips(data):
    assert decode_block(encode_block(data)) == data
    assert decode_block(encode_block(data) + b"\n") == data


@pytest.mark.parametrize(
    "message",
    [
        *BAD,
        b"",
        b"#",
        b"#3",
        b"#312",
        b"#15hell",
        b"#15hello!",
        b"#15hello\n\n",
        b"#0hello",
        b"#0",
    ],
)
def test_a_message_that_is_no_block_is_a_protocol_error(message):
    with pytest.raises(ProtocolError):
        decode_block(message)


@pytest.mark.parametrize(("message", "payload"), DEFINITE)
def test_the_reader_returns_a_block_before_its_terminator_comes(message, payload):
    reader = BlockReader()
    end = message.index(payload, 3) + len(payload)
    assert read(reader, [message[:end]]) == ([payload], [])
    assert not reader.terminated
    assert read(reader, [message[end:]]) == ([], [])
    assert reader.terminated
    assert reader.rest == b""


@given(
    st.lists(st.binary(max_size=40), max_size=5),
    st.sampled_from([b"", b"\n", b"\r\n"]),
    st.lists(st.integers(0)),
)
def test_any_chunking_gives_the_same_blocks(payloads, terminator, places):
    stream = b"".join(encode_block(payload) + terminator for payload in payloads)
    assert read(BlockReader(), cut(stream, places)) == (payloads, [])


@given(st.binary(max_size=60), st.lists(st.integers(0)))
def test_any_garbage_gives_payloads_or_protocol_errors_in_any_chunking(data, places):
    whole, whole_errors = read(BlockReader(limit=20), [data])
    cut_up, errors = read(BlockReader(limit=20), cut(data, places))
    assert (cut_up, len(errors)) == (whole, len(whole_errors))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("step", [1, 2, 1000])
def test_garbage_costs_one_error_and_the_next_block_is_read(bad, step):
    stream = bad + b"#15hello\n"
    payloads, errors = read(
        BlockReader(), [stream[at : at + step] for at in range(0, len(stream), step)]
    )
    assert payloads == [b"hello"]
    assert len(errors) == 1


def test_the_error_names_the_bytes_that_are_no_block():
    reader = BlockReader()
    reader.feed(b"+1.5E+00\n")
    with pytest.raises(ProtocolError, match=r"\+1\.5E\+00"):
        reader.message()


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_block_above_the_limit_costs_one_error_and_no_memory(step):
    stream = encode_block(b"#" * 101) + b"\n" + encode_block(b"x" * 100) + b"\n"
    payloads, errors = read(
        BlockReader(limit=100),
        [stream[at : at + step] for at in range(0, len(stream), step)],
    )
    assert payloads == [b"x" * 100]
    assert [str(error) for error in errors] == [
        ("a block of 101 bytes is above the limit of 100 bytes")
    ]


def test_a_declared_gigabyte_is_refused_before_it_arrives():
    reader = BlockReader(limit=1000)
    reader.feed(b"#9999999999")
    with pytest.raises(ProtocolError, match=r"999999999 bytes .* 1000 bytes"):
        reader.message()
    reader.feed(bytes(5000))
    assert reader.message() is None
    assert reader.rest == b""


@pytest.mark.parametrize(("message", "payload"), INDEFINITE)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_an_indefinite_block_ends_when_the_caller_says_so(message, payload, step):
    reader = BlockReader()
    assert read(
        reader, [message[at : at + step] for at in range(0, len(message), step)]
    ) == ([], [])
    assert reader.indefinite
    assert reader.finish() == payload
    assert not reader.indefinite
    assert read(reader, [b"#15hello\n"]) == ([b"hello"], [])


@pytest.mark.parametrize("cut_off", [b"", b"#", b"#15hel", b"#0hel"])
def test_finishing_a_cut_answer_is_an_error_and_the_next_block_is_read(cut_off):
    reader = BlockReader()
    read(reader, [cut_off])
    with pytest.raises(ProtocolError):
        reader.finish()
    assert read(reader, [b"#15hello\n"]) == ([b"hello"], [])


def test_an_indefinite_block_is_bounded():
    reader = BlockReader(limit=10)
    assert read(reader, [b"#0" + b"x" * 10 + b"\n"]) == ([], [])
    _, errors = read(reader, [b"y" * 20])
    assert "limit of 10 bytes" in str(errors[0])
    assert read(reader, [b"y\n", b"#15hello\n"]) == ([b"hello"], [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("+1.234560E+00", 1.23456),
        ("-5", -5.0),
        (" 3.0\r", 3.0),
        (".5e-3", 0.0005),
        ("5.", 5.0),
        ("9.9E+37", math.inf),  # HP 54620A, "Infinity representation"
        ("+9.90000000E+37", math.inf),
        ("-9.9E37", -math.inf),
        (repr(struct.unpack("f", struct.pack("f", 9.9e37))[0]), math.inf),
        ("9.8E37", 9.8e37),
        ("-9.91E37", -9.91e37),
    ],
)
def test_a_numeric_answer_is_a_float(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text", ["9.91E37", "+9.910000E+37"]
)  # HP 53131A, table 3-3; Agilent N1911A, "<NAN> Definition"
def test_the_scpi_not_a_number_is_nan(text):
    assert math.isnan(parse_number(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ON",
        "1,2",
        "1.5V",
        "nan",
        "inf",
        "1_000",
        "0x10",
        "1e400",
        "٣",
        "1 2",
        "--1",
    ],
)  # a digit outside ASCII is the case
def test_anything_else_is_no_number(text):
    with pytest.raises(ProtocolError, match="not a number"):
        parse_number(text)


@given(st.floats(min_value=-9e37, max_value=9e37))
def test_a_float_round_trips_as_nr3(value):
    assert parse_number(f"{value:+.16E}") == value


@pytest.mark.parametrize("text", ["1", "+1", "ON", "on", " 1\r\n", "2", "-1", "10"])
def test_a_true_answer(text):
    assert parse_boolean(text) is True


@pytest.mark.parametrize("text", ["0", "+0", "00", "OFF", "Off"])
def test_a_false_answer(text):
    assert parse_boolean(text) is False


@pytest.mark.parametrize("text", ["", "YES", "1.0", "+", "TRUE", "ON,OFF"])
def test_anything_else_is_no_boolean(text):
    with pytest.raises(ProtocolError, match="not a boolean"):
        parse_boolean(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"VOLT +1.000000E+01"', "VOLT +1.000000E+01"),
        ('"say ""hi"""', 'say "hi"'),
        ("'it''s'", "it's"),
        ('"it\'s"', "it's"),
        ('""', ""),
        ("  CV \r\n", "CV"),
    ],
)
def test_a_string_answer_loses_its_quotes(text, value):
    assert parse_string(text) == value


@pytest.mark.parametrize(
    "text", ['"', '"open', "'mixed\"", '"a"b"', '"a","b"', '"a" b']
)
def test_a_badly_quoted_string_is_a_protocol_error(text):
    with pytest.raises(ProtocolError, match="not a quoted string"):
        parse_string(text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_a_string_round_trips(text):
    assert parse_string(quote_string(text)) == text


@pytest.mark.parametrize("text", ["a\n*RST", "a\r", "\x00", "über"])
def test_text_that_could_end_the_command_is_refused(text):
    with pytest.raises(BadRequest):
        quote_string(text)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        # SCPI-1999 volume 2, 21.8.9
        ('-113,"Undefined header"', (-113, "Undefined header")),
        ('0,"No error"', (0, "No error")),
        ('+0,"No error"\n', (0, "No error")),
        ('-222,"Data out of range;VOLT 99"', (-222, "Data out of range;VOLT 99")),
        ("-350, Queue overflow", (-350, "Queue overflow")),
        ('511,"say ""hi"", twice"', (511, 'say "hi", twice')),
    ],
)
def test_an_entry_of_the_error_queue_has_number_and_text(text, entry):
    assert parse_error(text) == entry


@pytest.mark.parametrize(
    "text", ["", "0", "5.0,1", "No error", '1e3,"x"', '-113,"open', "999999,x"]
)
def test_anything_else_is_no_error_entry(text):
    with pytest.raises(ProtocolError):
        parse_error(text)


def test_a_long_bad_answer_is_not_repeated_whole():
    with pytest.raises(ProtocolError) as caught:
        parse_number("x" * 100_000)
    assert len(str(caught.value)) < 100
