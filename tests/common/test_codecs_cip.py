"""CIP, bytes and messages both ways.

Vectors are the rows of docs/protocols/cip.md, 8, with its marks and sources.
"""

import itertools
import random
from datetime import datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from busbar.codecs import cip
from busbar.codecs.cip import Form, Join, Skipped, Style, Update
from busbar.codecs.cip.frames import FrameReader
from busbar.codecs.cip.text import FRAGMENTS_LIMIT, OPEN_LIMIT, TEXT_LIMIT
from busbar.errors import BadRequest, OutOfRange, TooLarge


def digital(number, value, form=Form.DIGITAL, **where):
    return Update(Join("digital", number, **where), value, form)


def analog(number, value, form=Form.ANALOG, **where):
    return Update(Join("analog", number, **where), value, form)


def serial(number, value, form=Form.SERIAL, append=False, **where):
    return Update(Join("serial", number, **where), value, form, append)


HELP = '{href url="./Help/index.htm#Audio/Analog_Input_Configuration.htm"}'
ENTERED = datetime(2020, 3, 27, 20, 35, 31)

# number, bytes, message, source
VECTORS = [
    (1, "0f000102", cip.Hello(cip.READY), "[2+][cap] K,F,X,B,R,M,E"),
    (2, "0f000101", cip.Hello(cip.BOOTING), "[1] E"),
    (
        3,
        "01000b00000000000a40fffff101",
        cip.Connect(0x0A),
        "[cap] K #12/#15; V,W,E same form",
    ),
    (4, "0100077f000001000340", cip.Connect.short(3), "[2+] F,X,B"),
    (
        5,
        "0a000a0051a342400200000000",
        cip.DeviceConnect(0x51, bytes.fromhex("a342400200000000")),
        "[cap] Z",
    ),
    (6, "0200040000001f", cip.ConnectResult(0, 0, b"\x1f"), "[cap]"),
    (7, "02000400000003", cip.ConnectResult(0, 0, b"\x03"), "[2+][cap] R,M,Z,P, K #15"),
    (8, "0200040000401f", cip.ConnectResult(0, 0x40, b"\x1f"), "[1] W"),
    (9, "020003ffff02", cip.UNKNOWN_IPID, "[2+] F,X,K,W,H"),
    (10, "040004ffff0002", cip.Refused(), "[2+] E,W"),
    (
        11,
        "0b001300276372657374726f6e3a6372657374726f6e",
        cip.Authenticate(0x27, "crestron", "crestron"),
        "[1] W",
    ),
    (12, "0c0003002701", cip.AuthResult(0x27, True), "[1] W"),
    (13, "030000", cip.Disconnect(), "framing [2+]; empty payload [inf]"),
    (14, "0d00020000", cip.Ping(), "[2+] all"),
    (15, "0e00020000", cip.Pong(), "[2+] R,M,Z,W"),
    (16, "0500050000020300", cip.Command(cip.START), "[2+][cap]"),
    (17, "0500050000020316", cip.Command(cip.END_OF_UPDATE), "[2+][cap]"),
    (18, "050005000002031c", cip.Command(cip.END_OF_QUERY), "[2+][cap]"),
    (19, "050005000002031d", cip.Command(cip.ACKNOWLEDGE), "[2+] K,L,G"),
    (20, "050005000002031e", cip.Command(cip.REFRESH), "[2+] G (two clients), L"),
    (
        21,
        "05000b000008080e203531032720",
        cip.Clock(ENTERED),
        "[cap] K #12; L,M same fields",
    ),
    (22, "050006000003000000", digital(1, True), "[2+] K run = M run, [cap]"),
    (23, "050006000003000080", digital(1, False), "[2+] K run = M run"),
    (25, "05000600000300ff00", digital(256, True), "[2+] K run = M run"),
    (26, "050006000003000001", digital(257, True), "[2+] K run = M run"),
    (28, "050006000003009f0f", digital(4000, True), "[2+] K run = M run"),
    (29, "05000600000300ff7f", digital(32768, True), "K run"),
    (30, "050006000003000400", digital(5, True), "[2+][cap] K #12 dump, G, L"),
    (
        31,
        "050006000003270200",
        digital(3, True, Form.BUTTON),
        "[2+] K run, F, X by formula",
    ),
    (32, "050006000003270280", digital(3, False, Form.BUTTON), "[2+] K run, F, X"),
    (34, "050006000003279c13", digital(5021, True, Form.BUTTON), "[cap] E"),
    (
        37,
        "050007000004010bffff",
        analog(12, 65535, Form.ANALOG_SHORT),
        "[2+] R encodes; F,X,B,M decode",
    ),
    (38, "0500080000051400000000", analog(1, 0), "[2+] K run = M run"),
    (39, "05000800000514000b7ec8", analog(12, 32456), "[2+] K run = M run"),
    (40, "0500080000051400ffffff", analog(256, 65535), "[2+] K run = M run"),
    (
        43,
        "05000f00000c0223312c0d23312c6161610d",
        serial(1, "aaa", Form.LEGACY),
        "[2+] R sample; F,X,B parse",
    ),
    (44, "0500080000051202616263", serial(3, "abc", Form.CLIENT), "[2+] F,X,B formula"),
    (
        45,
        "05000a00000715000203616263",
        serial(3, "abc", Form.SERIAL_SHORT),
        "M run; layout [cap] G",
    ),
    (47, "12000b0000000734000203616263", serial(3, "abc"), "[2+] K run, R formula"),
    (
        48,
        "120017000000133400640348656c6c6f204372657374726f6e21",
        serial(101, "Hello Crestron!"),
        "[2+] K run, R",
    ),
    (49, "1200080000000434000003", serial(1, ""), "K run"),
    (50, "120100000000fc34000003" + 248 * "78", serial(1, 248 * "x"), "S formula"),
    (53, "1200100000000c34000407630061006600e900", serial(5, "café"), "derived"),
    (
        54,
        "12000c0000000834000403636166e9",
        serial(5, "café"),
        "derived (R,M decode so)",
    ),
    (55, "12004a0000004634006203" + HELP.encode().hex(), serial(99, HELP), "[cap] E"),
    (
        56,
        "05000c000009380000000303270000",
        digital(1, True, Form.BUTTON, smart=3),
        "[2+] R sample, M decode, D encode",
    ),
    (
        56,
        "05000c000009380000000303270080",
        digital(1, False, Form.BUTTON, smart=3),
        "[2+] R sample, M, D",
    ),
    (57, "05000c000009380000000303000000", digital(1, True, smart=3), "[2+] R, M run"),
    (
        59,
        "05000e00000b3800000003051400030001",
        analog(4, 1, smart=3),
        "[2+] R sample, M run",
    ),
    (
        60,
        "05000f00000c380000000306150000036869",
        serial(1, "hi", Form.SERIAL_SHORT, smart=3),
        "M run",
    ),
    (
        61,
        "1200110000000d39000000030006340000036869",
        serial(1, "hi", smart=3),
        "R formula, join offset unresolved",
    ),
]
# Frames that we read but would send as several, or in another way.
READ_ONLY = [
    (
        36,
        "0500080000050000000180",
        [digital(1, True), digital(2, False)],
        "layout [2+] M,P",
    ),
    (
        51,
        "12000a00000006340000073100",
        [serial(1, "1")],
        ("[2+] R sample, L flags; we send ASCII as ASCII"),
    ),
    (
        42,
        "05000c000009140000000100010002",
        [analog(1, 1), analog(2, 2)],
        "layout [2+] M,P",
    ),
    (
        63,
        "05000b000008080e203531032720"
        "050006000003000000"
        "050006000003000200"
        "050006000003000400"
        "050006000003000e00"
        "0500050000020316"
        "050005000002031c",
        [
            cip.Clock(ENTERED),
            *(digital(number, True) for number in (1, 3, 5, 15)),
            cip.Command(cip.END_OF_UPDATE),
            cip.Command(cip.END_OF_QUERY),
        ],
        "[cap] one TCP segment",
    ),
]
ALL = [(number, bytes.fromhex(data), [message]) for number, data, message, _ in VECTORS]
ALL += [
    (number, bytes.fromhex(data), messages) for number, data, messages, _ in READ_ONLY
]
STYLES = {53: Style(encoding="utf16")}

GARBAGE = [
    ("48656c6c6f", "no frame"),  # "Hello" has 'e' 'l' for a length
    ("c3b101", "no frame"),  # what crestron-cip 1.0.2 sends behind its sign-on
    ("2a0000", "unknown type 0x2a"),
    ("2a00020102", "unknown type 0x2a"),
    ("7700020102", "no frame"),  # nobody has seen a type above 0x28
    ("474554202f20485454502f312e310d0a0d0a", "no frame"),  # GET / HTTP/1.1
    ("0500030000 02", "0 are there"),
    ("050000", "ends before its record"),
    ("05000100", "ends before its record"),
    ("0500040000 0100", "no multiple of 2"),
    ("0500040000 01fe", "unknown subtype 0xfe"),
    ("0500070000 03000000 ff", "1 bytes behind a record"),
    ("0f0000", "at least 1 wanted"),
    ("02000100", "at least 3 wanted"),
    ("0500060000 0314000b", "no multiple of 4"),
    ("0500050000 0208 0e", "cannot be"),
    ("0500050000 020377", "unknown command 0x77"),
    ("05000b0000 08080e999999999999", "cannot be"),
    ("0500060000 03340003", "within its head"),
    ("0500080000 0534000000 41", "without its beginning"),
    ("0500070000 0438000000", "smart object without"),
    ("0500120000 0f3800000003 093800000004 03000000", "in another one"),
    ("0500050000 022001", "slot without"),
    ("0500070000 04024141 41"[:-2] + "41", "without a join"),
    ("05000a0000 07022330 2c0d4141", "join 0, which cannot be"),
]


def read(chunks, style=Style()):  # noqa: B008  # frozen
    """Feed the chunks and return all that comes."""
    reader, found = cip.Reader(style), []
    for chunk in chunks:
        reader.feed(chunk)
        found += reader.messages()
    return found


def messages(chunks):
    return [each for each in read(chunks) if not isinstance(each, Skipped)]


@pytest.mark.parametrize(("number", "data", "message", "source"), VECTORS)
def test_a_vector_encodes(number, data, message, source):
    assert cip.encode(message, STYLES.get(number, Style())).hex() == data


@pytest.mark.parametrize(("number", "data", "expected"), ALL)
def test_a_vector_decodes_whole_and_split_at_every_byte(number, data, expected):
    assert read([data]) == expected
    for place in range(len(data) + 1):
        assert read([data[:place], data[place:]]) == expected
    assert read([data[place : place + 1] for place in range(len(data))]) == expected


def test_all_vectors_decode_in_one_piece_and_byte_by_byte():
    stream = b"".join(data for _, data, _ in ALL)
    expected = [message for _, _, found in ALL for message in found]
    assert read([stream]) == expected
    assert read([stream[place : place + 1] for place in range(len(stream))]) == expected


@pytest.mark.parametrize(("garbage", "why"), GARBAGE)
def test_what_is_wrong_is_told_and_costs_itself_only(garbage, why):
    before, after = cip.encode(digital(7, True)), cip.encode(serial(2, "still here"))
    found = read([before + bytes.fromhex(garbage) + after])
    good = [each for each in found if not isinstance(each, Skipped)]
    assert (good[0], good[-1]) == (digital(7, True), serial(2, "still here"))
    assert any(why in each.why for each in found if isinstance(each, Skipped)), found


PARTS = st.tuples(
    st.sampled_from(ALL), st.sampled_from(["", *(data for data, _ in GARBAGE)])
)


@settings(deadline=None)
@given(st.lists(PARTS, max_size=8), st.lists(st.integers(0, 2000), max_size=8))
def test_every_good_message_comes_through_garbage_and_any_chunking(parts, places):
    stream = (
        b"".join(data + bytes.fromhex(garbage) for (_, data, _), garbage in parts)
        + b"\x0d\x00\x02\x00\x00"
    )
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    found = messages([stream[start:end] for start, end in itertools.pairwise(edges)])
    expected = [message for (_, _, good), _ in parts for message in good]
    kept = iter(found)
    # in this order, with what came of garbage in between
    assert all(message in kept for message in expected)
    assert found[-1] == cip.Ping()


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_no_bytes_at_all_raise(chunks):
    reader = cip.Reader()
    for chunk in chunks:
        reader.feed(chunk)
        list(reader.messages())


@settings(deadline=None)
@given(st.binary(max_size=2000))
@example(b"\x12\xff\xff").via("a head of the longest frame")
@example(b"\x12\xff\xff" + bytes(1000)).via("the same, and some of its payload")
def test_after_any_garbage_a_good_message_is_found_within_the_longest_frame(garbage):
    reader = cip.Reader()
    reader.feed(garbage)
    pings = cip.encode(cip.Ping()) * 20
    for _ in range(0, 70_000, len(pings)):  # the longest frame has 65 538 bytes
        if cip.Ping() in reader.messages():
            return
        reader.feed(pings)
    assert cip.Ping() in reader.messages()


JOINS = {
    "digital": (st.integers(1, 32768), st.booleans(), [Form.DIGITAL, Form.BUTTON]),
    "analog": (
        st.integers(1, 65536),
        st.integers(0, 65535),
        [Form.ANALOG, Form.ANALOG_SHORT],
    ),
    "serial": (st.integers(1, 65536), st.text(max_size=80), [Form.SERIAL]),
}
SCOPES = st.sampled_from(
    [
        {},
        {"smart": 3},
        {"smart": 2**32 - 1},
        {"slots": (1,)},
        {"slots": (1, 255), "smart": 7},
    ]
)


@st.composite
def updates(draw):
    kind = draw(st.sampled_from(sorted(JOINS)))
    numbers, values, forms = JOINS[kind]
    scope = draw(SCOPES)
    form = draw(st.sampled_from(forms))
    if scope.get("slots") and form is Form.SERIAL:
        form = Form.SERIAL_SHORT  # a record within a slot is short
    return Update(Join(kind, draw(numbers), **scope), draw(values), form)


@settings(deadline=None)
@given(updates(), st.sampled_from(["utf8", "utf16"]), st.sampled_from([0, 1, 0x1234]))
def test_every_value_of_every_join_round_trips(update, encoding, handle):
    if update.join.slots and len(str(update.value)) > 40:
        update = update._replace(value=str(update.value)[:40])
    assert read([cip.encode(update, Style(handle, encoding))]) == [update]


@settings(deadline=None)
@given(updates(), st.integers(0, 2**31))
def test_a_stream_of_values_survives_random_cuts(update, seed):
    random_ = random.Random(seed)
    if isinstance(update.value, str):
        update = update._replace(value=update.value[:40])
    stream = cip.encode(update, Style(encoding="utf8")) * 20
    chunks = []
    while stream:
        size = random_.randint(1, 30)
        chunks.append(stream[:size])
        stream = stream[size:]
    assert read(chunks) == [update] * 20


# Text.


@pytest.mark.parametrize(
    ("encoding", "text", "flags", "data"),
    [
        ("latin1", "café", "03", "636166e9"),
        ("utf8", "café", "03", "636166c3a9"),
        ("utf16", "café", "07", "630061006600e900"),
        ("utf16", "plain", "03", "706c61696e"),
    ],
)
def test_text_is_ascii_where_it_can_be_and_else_as_configured(
    encoding, text, flags, data
):
    frame = cip.encode(serial(1, text), Style(encoding=encoding))
    assert frame.hex().endswith(f"340000{flags}{data}")
    assert read([frame]) == [serial(1, text)]


def test_text_that_cannot_be_encoded_names_the_character():
    with pytest.raises(BadRequest, match="'€' at position 5 cannot be sent as latin1"):
        cip.encode(serial(1, "cost €"))


def test_text_beyond_one_frame_is_too_large():
    cip.encode(serial(1, "x" * (0xFFFF - 8)))
    with pytest.raises(TooLarge, match="65531"):
        cip.encode(serial(1, "x" * (0xFFFF - 7)))
    with pytest.raises(TooLarge, match="255"):
        cip.encode(serial(1, "x" * 252, slots=(1,)))


def fragment(join, flags, text):
    body = b"\x34" + (join - 1).to_bytes(2) + bytes((flags,)) + text
    return cip.encode_frame(0x12, b"\0\0" + len(body).to_bytes(2) + body)


def test_fragments_are_put_together_by_join():
    parts = [
        fragment(1, 2, b"Hel"),
        fragment(2, 2, b"A"),
        fragment(1, 0, b"l"),
        fragment(2, 1, b"B"),
    ]
    assert read([*parts, fragment(1, 1, b"o")]) == [serial(2, "AB"), serial(1, "Hello")]


def test_the_flag_of_the_first_fragment_is_that_of_beginnings():
    """pycrestron-cip marks the first part with 1 and the last with 2."""
    parts = [
        fragment(1, 1, b"Hel"),
        fragment(2, 1, b"A"),
        fragment(1, 0, b"l"),
        fragment(2, 2, b"B"),
        fragment(1, 2, b"o"),
        fragment(1, 1, b"n"),
        fragment(1, 2, b"o"),
    ]
    assert read(parts) == [serial(2, "AB"), serial(1, "Hello"), serial(1, "no")]


def test_a_character_of_utf16_may_be_cut_between_fragments():
    data = "é€".encode("utf-16-le")
    assert read([fragment(1, 6, data[:1]), fragment(1, 5, data[1:])]) == [
        serial(1, "é€")
    ]


@pytest.mark.parametrize("flags", [(6, 0, 1), (2, 0, 5), (6, 4, 5)])
def test_the_encoding_of_a_text_may_be_marked_on_any_of_its_fragments(flags):
    data = "é€".encode("utf-16-le")
    parts = (data[:2], data[2:3], data[3:])
    assert read([fragment(1, *each) for each in zip(flags, parts, strict=True)]) == [
        serial(1, "é€")
    ]


def test_the_oldest_of_too_much_is_forgotten():
    reader = cip.Reader()
    for number in range(1, 7):  # 1.25 times what there may be
        reader.feed(
            fragment(number, 2, b"x" * 60_000) + fragment(number, 0, b"x" * 60_000) * 3
        )
    for number in range(1, 7):
        reader.feed(fragment(number, 1, b"y"))
    found = list(reader.messages())
    assert [each.join.number for each in found if not isinstance(each, Skipped)] == [
        3,
        4,
        5,
        6,
    ]
    assert 4 * 240_000 <= FRAGMENTS_LIMIT < 5 * 240_000


def test_a_text_that_begins_again_is_not_the_oldest():
    reader = cip.Reader()
    for number in [*range(1, OPEN_LIMIT + 1), 1, OPEN_LIMIT + 1]:
        reader.feed(fragment(number, 2, b"a"))
    reader.feed(fragment(1, 1, b"b") + fragment(2, 1, b"b"))
    assert [each for each in reader.messages() if not isinstance(each, Skipped)] == [
        serial(1, "ab")
    ]


def test_a_new_beginning_forgets_the_old_one_and_a_whole_text_ends_it():
    assert messages(
        [fragment(1, 2, b"old"), fragment(1, 2, b"ne"), fragment(1, 1, b"w")]
    ) == [serial(1, "new")]
    assert messages(
        [fragment(1, 2, b"old"), fragment(1, 3, b"whole"), fragment(1, 1, b"!")]
    ) == [serial(1, "whole")]


def test_fragments_are_bounded_in_size_and_number():
    reader = cip.Reader()
    reader.feed(fragment(1, 2, b"x" * 60_000) + fragment(1, 0, b"x" * 60_000) * 4)
    (skipped,) = reader.messages()
    assert f"above {TEXT_LIMIT} bytes" in skipped.why
    for number in range(1, OPEN_LIMIT + 2):
        reader.feed(fragment(number, 2, b"a"))
    reader.feed(fragment(1, 1, b"b") + fragment(2, 1, b"b"))
    assert [
        each.why if isinstance(each, Skipped) else each for each in reader.messages()
    ] == [
        "a fragment without its beginning",
        serial(2, "ab"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"#1,\r#1,aaa\r", [serial(1, "aaa", Form.LEGACY)]),
        (b"@1,more\r", [serial(1, "more", Form.LEGACY, append=True)]),
        (
            b"#1,a\r@1,b\r#2,c\r",
            [serial(1, "ab", Form.LEGACY), serial(2, "c", Form.LEGACY)],
        ),
        (b"#1,\r#1,two\rlines\r", [serial(1, "two\rlines", Form.LEGACY)]),
    ],
)
def test_legacy_text_is_read_line_by_line(text, expected):
    body = b"\x02" + text
    assert read([cip.encode_frame(5, b"\0\0" + bytes((len(body),)) + body)]) == expected


def test_legacy_text_is_written_as_it_is_read():
    within = serial(2, "x", Form.LEGACY, smart=3, slots=(1,))
    for update in (
        serial(1, "aaa", Form.LEGACY),
        serial(7, "more", Form.LEGACY, append=True),
        within,
    ):
        assert read([cip.encode(update)]) == [update]


# Sign-on, scopes, limits.


def test_a_room_sign_on_has_213_bytes_and_its_token():
    message = cip.RoomConnect(0x03, "boardroom1", host="hall", token="secret")
    frame = cip.encode(message)
    assert frame[:3].hex() == f"26{213 + 6:04x}"
    assert frame[3:18].hex() == "000340f10100000001ffffffffffff"  # V: mask 01, MAC ff
    assert (
        b"Crestron"
        + bytes(42)
        + b"XPanel"
        + bytes(44)
        + b"BOARDROOM1"
        + bytes(22)
        + b"hall"
        in frame
    )
    assert read([frame]) == [
        cip.RoomConnect(0x03, "BOARDROOM1", host="hall", token="secret")
    ]
    assert len(cip.encode(cip.RoomConnect(3, "x"))) == 3 + 0xD5
    assert read([cip.encode(cip.RoomConnect(3, "R" * 33, "M" * 51, "h" * 65))]) == [
        cip.RoomConnect(3, "R" * 32, "M" * 50, "h" * 64)
    ]


def test_secrets_do_not_show():
    assert "hunter2" not in repr(cip.Authenticate(3, "admin", "hunter2")) + repr(
        cip.RoomConnect(3, "r", token="hunter2")
    )


@pytest.mark.parametrize(
    ("data", "accepted", "credentials", "handle"),
    [
        ("0200040000001f", True, False, 0),
        ("02000400000003", True, False, 0),
        ("0200040000200f", True, False, 0),  # docs/protocols/cip.md, 4.4: a Node client
        ("0200040000401f", True, True, 0),
        ("020003ffff02", False, False, 0xFFFF),
        # V: VC-4, "VC-4" behind the first bytes
        ("2700260001001f00" + "56432d34" + "00" * 29, True, False, 1),
    ],
)
def test_every_result_of_a_sign_on_is_understood(data, accepted, credentials, handle):
    (result,) = read([bytes.fromhex(data)])
    assert (result.accepted, result.credentials, result.handle) == (
        accepted,
        credentials,
        handle,
    )
    assert cip.encode(result).hex() == data


def test_slots_may_be_within_slots_but_not_for_ever():
    update = digital(5, True, slots=(1, 2))
    assert read([cip.encode(update)]) == [update]
    (skipped,) = read([cip.encode(digital(5, True, slots=(1, 2, 3)))])
    assert "too deep" in skipped.why


def test_a_text_in_a_slot_has_the_short_form():
    # layout [2+] Z, P
    assert (
        cip.encode(serial(3, "x", slots=(1,))).hex() == "05000b0000082001051500020378"
    )


def test_the_join_offset_of_smart_objects_can_be_chosen():
    style = Style(smart_offset=0)  # as R writes analogs and serials
    frame = cip.encode(analog(4, 1, smart=3), style)
    assert frame.hex() == "05000e00000b3800000003051400040001"
    assert read([frame], style) == [analog(4, 1, smart=3)]
    assert cip.encode(analog(4, 1), style) == cip.encode(analog(4, 1))
    assert "join 0" in read([cip.encode(analog(1, 1, smart=3))], style)[0].why


def test_the_handle_is_in_every_data_frame():
    style = Style(handle=0x0102)
    for message in (
        digital(1, True),
        serial(1, "x"),
        cip.Command(cip.START),
        cip.Clock(ENTERED),
    ):
        assert cip.encode(message, style)[3:5].hex() == "0102"
        assert read([cip.encode(message, style)]) == [message]


@pytest.mark.parametrize(
    ("update", "why"),
    [
        (digital(0, True), "digital join 0 is not 1 to 32768"),
        (digital(32769, True), "digital join 32769 is not 1 to 32768"),
        (analog(65537, 1), "analog join 65537 is not 1 to 65536"),
        (analog(1, -1), "-1 is out of range; an analog join is 0 to 65535"),
        (analog(1, 65536), "65536 is out of range"),
        (serial(257, "x", Form.CLIENT), "serial join 257 is not 1 to 256"),
        (digital(1, True, smart=2**32), "smart object 4294967296"),
        (digital(1, True, slots=(256,)), "slot 256 is not 0 to 255"),
    ],
)
def test_what_does_not_fit_the_wire_is_refused_with_what_is_allowed(update, why):
    with pytest.raises(OutOfRange, match=why):
        cip.encode(update)


def test_texts_about_the_device_are_read():
    body = b"\x03\x30MC3 Cntrl Eng [v1.503.0027]\x00"
    assert read([cip.encode_frame(5, b"\0\0" + bytes((len(body),)) + body)]) == [
        cip.About("MC3 Cntrl Eng [v1.503.0027]")
    ]
    body = b"\x1c\x05\x00\x00TSW-760"
    assert read([cip.encode_frame(5, b"\0\0" + bytes((len(body),)) + body)]) == [
        cip.About("TSW-760")
    ]


def test_a_record_shorter_than_it_says_gives_what_is_there():
    found = read([bytes.fromhex("0500070000 09 00 0000 01")])
    assert found[1:] == [
        digital(1, True),
        Skipped(("a record that is no multiple of 2 bytes"), b"\x00\x00\x01"),
    ]
    assert "9 bytes of which 4 are there" in found[0].why


def test_frames_nobody_has_a_use_for_are_passed_over_in_silence():
    # docs/protocols/cip.md, 4
    types = (0x00, 0x1F, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x28)
    assert read([cip.encode_frame(type_, b"\0\1") for type_ in types]) == []


def test_whole_frames_are_told_from_anything_else():
    assert cip.split(bytes.fromhex("0d000200000f000102")) == [
        cip.Frame(0x0D, b"\0\0"),
        cip.Frame(0x0F, b"\x02"),
    ]
    for wrong in ("", "0d", "0d0002", "0d0002000000", "0f000102ff"):
        assert cip.split(bytes.fromhex(wrong)) is None


def test_what_was_not_taken_is_still_there():
    reader = FrameReader()
    reader.feed(bytes.fromhex("c30d000200000e00020000"))
    assert next(reader.frames()) == Skipped("no frame", b"\xc3")
    assert next(reader.frames()).type == 0x0D
    assert [frame.type for frame in reader.frames()] == [0x0E]


def test_a_large_burst_in_one_piece_is_read_whole():
    stream = b"".join(cip.encode(analog(number, number)) for number in range(1, 20_001))
    assert [each.value for each in read([stream])] == list(range(1, 20_001))


def test_a_style_that_is_agreed_on_is_that_of_all_frames_behind():
    reader, style = cip.Reader(), Style(smart_offset=0)
    reader.feed(cip.encode(cip.Ping()) + cip.encode(analog(4, 1, smart=3), style))
    messages = reader.messages()
    assert next(messages) == cip.Ping()
    reader.agree(style)
    assert list(messages) == [analog(4, 1, smart=3)]


def strays(data):
    """Return what cannot begin a frame, found byte by byte; the reader searches."""
    longest = {0x05: 1024, 0x12: 65535, 0x26: 8192, 0x0B: 512, 0x03: 256, 0x04: 256}
    longest |= dict.fromkeys((0x00, 0x01, 0x02, 0x0A, 0x0C), 64)
    longest |= dict.fromkeys((0x0D, 0x0E, 0x0F), 16)
    place = 0
    while len(data) - place >= 3:
        type_ = data[place]
        length = data[place + 1] << 8 | data[place + 2]
        if type_ <= 0x3F and length <= longest.get(type_, 1024):
            break
        place += 1
    return data[:place]


HEADS = bytes.fromhex("00 01 02 03 04 05 0b 0d 10 11 12 1f 20 26 3f 40 ff")


@settings(deadline=None)
@given(st.lists(st.sampled_from(list(HEADS))))
@example([0x05, 4, 0]).via("the longest")
@example([0x05, 4, 1, 0]).via("one more")
@example([0x0B, 2, 1, 0])
@example([0x26, 0x20, 0, 0])
@example([0x26, 0x20, 1, 0])
def test_the_next_frame_is_found_where_a_look_at_each_byte_finds_it(numbers):
    data = bytes(numbers)
    reader = FrameReader()
    reader.feed(data)
    first = next(reader.frames(), None)
    assert (first.data if isinstance(first, Skipped) else b"") == strays(data)


SHORT = Style(short_text=True)


def test_short_text_goes_in_the_form_that_every_reader_knows():
    # row 45 of the page: serial 3 = "abc", short [cap: G]
    vector = bytes.fromhex("05000a00000715000203616263")
    assert cip.encode(serial(3, "abc"), SHORT) == vector
    inside = cip.encode(serial(1, "hi", smart=3), SHORT)  # row 60 of the page
    assert inside == bytes.fromhex("05000f00000c380000000306150000036869")


@pytest.mark.parametrize("length", [0, 250, 251, 252, 60_000])
def test_text_that_does_not_fit_the_short_form_takes_the_long_one(length):
    data = cip.encode(serial(3, "x" * length), SHORT)
    assert data[0] == (0x05 if length <= 251 else 0x12)
    reader = cip.Reader()
    reader.feed(data)
    (message,) = reader.messages()
    assert (message.join, message.value) == (Join("serial", 3), "x" * length)


def test_a_reader_counts_whole_frames_of_types_that_are_known():
    reader = cip.Reader()
    for data, complete in (
        ("0d00020000", 1),
        ("00000100", 2),  # an acknowledgement: nothing to say, and a sign of life
        ("2a000101", 2),  # of no known type
        ("414243", 2),  # no frame
        ("12ffff0e00020000", 2),  # a frame that is open
    ):
        reader.feed(bytes.fromhex(data))
        list(reader.messages())
        assert reader.complete == complete
