"""Framings: vectors with their source, any chunking, garbage then good, bounds."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busbar.codecs import framing

LIMIT = 64
# Source: the COBS vectors of the tests of comsrv 0.3 (src/protocol/cobs.rs); the
# package `cobs` 1.2 gives the same bytes.
COBS = [
    ("01020304", "050102030400"),
    ("01020004", "030102020400"),
    ("01020004050607000a0b0c", "0301020504050607040a0b0c00"),
    ("00000001020300", "010101040102030100"),
    ("", "0100"),
]
# Source: RFC 1055, "The Protocol".
SLIP = [("01c002db03", "c001dbdc02dbdd03c0"), ("61", "c061c0")]
FRAMINGS = {
    "line": lambda: framing.Lines(b"\n", LIMIT),
    "crlf": lambda: framing.Lines(b"\r\n", LIMIT),
    "any line": lambda: framing.Lines(None, LIMIT),
    "cobs": lambda: framing.Cobs(LIMIT),
    "cobs with CRC": lambda: framing.Checked(
        framing.Cobs(LIMIT), framing.CHECKS["crc16-ccitt"]
    ),
    "slip": lambda: framing.Slip(LIMIT),
    "length": lambda: framing.LengthPrefix(2, "big", limit=LIMIT),
    "fixed": lambda: framing.FixedSize(8),
    "marker": lambda: framing.Markers(b"<<", b">>", LIMIT),
    "one marker": lambda: framing.Markers(b"|", b"|", LIMIT),
    "pattern": lambda: framing.PatternEnd(r"(ab|c)+;\r?\n", LIMIT),
    "gap": lambda: framing.IdleGap(0.1, LIMIT),
    "none": lambda: framing.Chunks(LIMIT),
    "rpio": lambda: framing.Rpio(),
}
# Whose frames can be found again behind any garbage.
RECOVER = ("line", "crlf", "any line", "cobs", "cobs with CRC", "slip", "marker")
GOOD = b"12345678"


def chunked(data, sizes):
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


def frames(reader, chunks):
    found = []
    for chunk in chunks:
        found += reader.feed(chunk)
    return found


@pytest.mark.parametrize(("payload", "stuffed"), COBS)
def test_cobs_says_what_its_vectors_say(payload, stuffed):
    reader = framing.Cobs()
    assert reader.encode(bytes.fromhex(payload)).hex() == stuffed
    expected = [bytes.fromhex(payload)]
    assert reader.feed(bytes.fromhex(stuffed)) == expected


def test_a_run_of_254_bytes_is_read_with_and_without_the_empty_last_block():
    payload = bytes(range(1, 255)) * 5
    theirs = b"".join(b"\xff" + bytes(range(1, 255)) for _ in range(5)) + b"\x01\x00"
    assert len(theirs) == 1277
    ours = framing.Cobs().encode(payload)
    assert len(ours) == 1276
    for stuffed in (theirs, ours):
        assert framing.Cobs().feed(stuffed) == [payload]


@pytest.mark.parametrize(("payload", "stuffed"), SLIP)
def test_slip_says_what_its_vectors_say(payload, stuffed):
    reader = framing.Slip()
    assert reader.encode(bytes.fromhex(payload)).hex() == stuffed
    assert reader.feed(bytes.fromhex(stuffed)) == [bytes.fromhex(payload)]


# Source: the catalogue of parametrised CRC algorithms (reveng), check of "123456789".
CRCS = {
    "crc8": "f4",
    "crc16-modbus": "374b",
    "crc16-ccitt": "29b1",
    "crc16-xmodem": "31c3",
    "crc32": "2639f4cb",
}


@pytest.mark.parametrize("name", CRCS)
def test_a_checksum_gives_its_check_value_and_is_tried(name):
    check = framing.CHECKS[name]
    sent = check.add(b"123456789")
    assert sent[9:].hex() == CRCS[name]
    assert check.strip(sent) == b"123456789"
    assert check.strip(sent[:-1] + bytes([sent[-1] ^ 1])) is None


def test_nmea_is_summed_behind_the_dollar():
    # Source: the example sentence of the NMEA 0183 pages of gpsd.
    good = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47"
    check = framing.CHECKS["nmea"]
    assert check.strip(good) == good[:-3]
    assert check.add(good[:-3]) == good
    assert check.strip(good.replace(b"4807", b"4808")) is None
    assert check.strip(b"$GPGGA,1") is None


@pytest.mark.parametrize("name", framing.CHECKS)
@given(st.binary(max_size=80))
def test_no_bytes_break_a_checksum(name, data):
    check = framing.CHECKS[name]
    check.strip(data)
    assert check.strip(check.add(data)) == data


@pytest.mark.parametrize("name", FRAMINGS)
@given(st.binary(max_size=300), st.lists(st.integers(0, 9), max_size=60))
def test_any_chunking_gives_the_same_frames(name, data, sizes):
    if name in ("none", "rpio"):
        return  # there a chunk is what a frame is
    whole, parts = FRAMINGS[name](), FRAMINGS[name]()
    assert frames(whole, [data]) == frames(parts, chunked(data, sizes))
    assert whole.silence() == parts.silence()
    assert whole.wrong == parts.wrong


@pytest.mark.parametrize("name", FRAMINGS)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8))
def test_what_is_encoded_is_read_again(name, payloads):
    reader = FRAMINGS[name]()
    if name in ("pattern", "gap", "none", "rpio"):
        return
    sent = []
    for payload in payloads:
        try:
            data = reader.encode(payload)
        except ValueError:
            continue
        sent.append((payload, data))
    data = b"".join(each for _, each in sent)
    assert reader.feed(data) == [payload for payload, _ in sent]
    assert not reader.wrong


@pytest.mark.parametrize("name", RECOVER)
@given(st.binary(max_size=400))
def test_garbage_costs_what_it_touches_and_the_next_frame_is_good(name, garbage):
    reader = FRAMINGS[name]()
    reader.feed(garbage)
    reader.feed(reader.encode(GOOD))  # the garbage may have begun a frame
    assert reader.feed(reader.encode(GOOD))[-1:] == [GOOD]


@pytest.mark.parametrize("name", ["length", "fixed"])
@given(st.binary(max_size=400))
def test_after_garbage_a_silence_brings_sized_frames_back(name, garbage):
    reader = FRAMINGS[name]()
    reader.feed(garbage)
    reader.silence()
    assert reader.feed(reader.encode(GOOD)) == [GOOD]


@pytest.mark.parametrize("name", FRAMINGS)
def test_what_never_ends_is_bounded_and_counted_once(name):
    reader = FRAMINGS[name]()
    for _ in range(200):
        reader.feed(b"x" * 50)
    assert len(reader.take_pending()) <= 2 * LIMIT + 8
    if name in ("line", "crlf", "any line", "cobs", "slip", "pattern", "gap"):
        assert reader.wrong == 1
        assert "more than" in reader.reason


@pytest.mark.parametrize(("name", "end"), [("line", b"\n"), ("slip", b"\xc0")])
def test_a_frame_that_is_too_large_costs_itself_only(name, end):
    reader = FRAMINGS[name]()
    assert reader.feed(b"x" * 500 + end + b"good" + end) == [b"good"]
    assert reader.feed(b"x" * 500) == []
    assert reader.feed(b"x" * 500 + end + b"good" + end) == [b"good"]
    assert reader.wrong == 2


def test_a_start_marker_inside_a_frame_begins_it_again():
    reader = framing.Markers(b"$", b"\r\n", LIMIT)
    assert reader.feed(b"$GPG$GPRMC,1\r\nnoise$B\r\n") == [b"GPRMC,1", b"B"]
    assert reader.wrong == 2


def test_an_impossible_length_is_refused_until_a_silence():
    reader = framing.LengthPrefix(2, "big", limit=LIMIT)
    assert reader.feed(b"\xff\xff\x00\x01a") == []
    assert reader.wrong == 1
    assert reader.feed(b"\x00\x01a") == []
    reader.silence()
    assert reader.feed(b"\x00\x01a") == [b"a"]


def test_a_length_may_have_a_header_before_it_and_count_itself():
    reader = framing.LengthPrefix(1, header=1, adjust=-2)
    assert reader.encode(b"\x02abc") == b"\x02\x05abc"
    assert reader.feed(b"\x02\x05abc") == [b"\x02abc"]


def test_a_pattern_ends_a_frame_where_it_first_matches():
    reader = framing.PatternEnd(r"\r?\n|>")
    assert reader.feed(b"a\r\nb\nlogin>") == [b"a\r\n", b"b\n", b"login>"]


def test_rpio_strips_reads_of_1024_bytes():
    reader = framing.Rpio()
    assert reader.feed(b" hello \r\n") == [b"hello"]
    assert reader.feed(b"\r\n") == [b""]
    assert [len(each) for each in reader.feed(b"x" * 2500)] == [1024, 1024, 452]


SAME = [  # what Python's own says of them, too
    (r"(\d+)\.(\d*)", "a 12.5 b"),
    (r"(?P<sign>[+-])?(?P<number>[0-9]+)", "T=-20"),
    (r"^(a|ab)(c|bcd)(d*)$", "abcd"),
    (r"a*?b", "aaab"),
    (r"(a+)(a*)", "aaaa"),
    (r"x{2,3}", "xxxx"),
    (r"[^,]*,([^,]*)", "one,two,three"),
    (r"(?:ab|c)+d", "zabcabd"),
    (r"S\s+(\S+)\s*(g|kg)", "S S   12.50 kg"),
    (r"[\w.-]+@[a-z]+", "to me.x-1@there now"),
    (r"\x41\.", "A."),
    (r"()", "x"),
    (r"nothing", "x"),
]


@pytest.mark.parametrize(("pattern", "text"), SAME)
def test_a_pattern_finds_what_everybody_expects(pattern, text):
    expected = re.search(pattern, text)
    found = framing.Pattern(pattern).search(text)
    assert found == (expected and [expected[0], *expected.groups()])


@given(
    st.text("ab", max_size=12),
    st.recursive(
        st.sampled_from(["a", "b", ".", "[ab]", "[^a]"]),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map(lambda both: f"(?:{both[0]}|{both[1]})"),
            inner.map(lambda one: f"({one})"),
            st.tuples(inner, st.sampled_from(["+", "?", "{1,2}"])).map(
                lambda both: f"(?:{both[0]}){both[1]}"
            ),
        ),
        max_leaves=6,
    ),
)
@settings(deadline=None)
def test_a_pattern_matches_where_pythons_own_does(text, pattern):
    found = framing.Pattern(pattern).search(text)
    expected = re.search(pattern, text)
    assert (found and found[0]) == (expected and expected[0])


BAD = ("a\\", "(a{99}){99}", r"\xg1", "[z-a]")


@pytest.mark.parametrize(
    "pattern",
    [*BAD, "(", ")", "[a", "*a", "a{2", "a{3,1}", r"(\1)", "(?=a)", "(?P<a>x)(?P<a>y)"],
)
def test_a_pattern_that_is_none_is_refused(pattern):
    with pytest.raises(ValueError, match=r"."):
        framing.Pattern(pattern)


@pytest.mark.parametrize("pattern", ["a*", "^", "a$", "(|b)"])
def test_a_pattern_that_ends_no_frame_is_refused(pattern):
    with pytest.raises(ValueError, match=r"."):
        framing.PatternEnd(pattern)


def test_the_pattern_that_hangs_others_takes_linear_time():
    hostile = framing.Pattern(r"(a+)+$")
    started = time.process_time()
    assert hostile.search("a" * 3000 + "b") is None
    assert time.process_time() - started < 10
