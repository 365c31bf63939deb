"""Codec of INDI: real elements in any pieces, and input that should never come."""

import base64
import math
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.codecs import indi
from busbar.codecs.indi import (
    BlobData,
    BlobEnd,
    BlobStart,
    ElementReader,
    Range,
    SetVector,
    Skipped,
    reader,
)
from busbar.errors import ProtocolError

# As indiserver 1.9.9 writes it (measured): values between newlines, numbers as %.20g.
SET = b"""<setNumberVector device="Telescope Simulator" name="EQUATORIAL_EOD_COORD" \
state="Busy" timeout="60" timestamp="2026-11-20T10:00:00">
    <oneNumber name="RA">
9.3911510557825703671
    </oneNumber>
    <oneNumber name="DEC">
-12:30:00
    </oneNumber>
</setNumberVector>
"""
SWITCHES = b"""<defSwitchVector device="CCD Simulator" name="CONNECTION" \
label="Connection" group="Main Control" state="Idle" perm="rw" rule="OneOfMany" \
timeout="60" timestamp="2026-11-20T10:00:00">
    <defSwitch name="CONNECT" label="Connect">
Off
    </defSwitch>
    <defSwitch name="DISCONNECT" label="Disconnect">
On
    </defSwitch>
</defSwitchVector>
"""
NUMBERS = b"""<defNumberVector device='CCD' name='CCD_EXPOSURE' label='Expose' \
group='Main' state='Ok' perm='rw' timeout='60'>
<defNumber name='CCD_EXPOSURE_VALUE' label='Duration (s)' format='%5.2f' min='0.01' \
max='3600' step='1'>1</defNumber>
</defNumberVector>"""
LIGHTS = b"""<defLightVector device="W" name="STATUS" state="Ok">\
<defLight name="RAIN">Alert</defLight></defLightVector>"""
BLOBS = b"""<defBLOBVector device="CCD" name="CCD1" state="Idle" perm="ro" \
timeout="60"><defBLOB name="CCD1" label="Image"/></defBLOBVector>"""
OTHERS: list[tuple[bytes, indi.Element]] = [
    (
        b'<message device="CCD" timestamp="2026-11-20T10:00:00" '
        b'message="[INFO] &lt;ok&gt; &#65;&amp;&#x42;"/>',
        indi.Message("[INFO] <ok> A&B", "CCD", "2026-11-20T10:00:00"),
    ),
    (b'<message message="all"></message>', indi.Message("all")),
    (
        b'<delProperty device="CCD" name="CCD1" message="gone"/>',
        indi.DelProperty("CCD", "CCD1", "", "gone"),
    ),
    (b'<delProperty device="CCD"/>', indi.DelProperty("CCD")),
    (b"<getProperties version='1.7' device='*'/>", indi.GetProperties("*")),
    (
        b'<enableBLOB device="CCD" name="CCD1">Only</enableBLOB>',
        indi.EnableBLOB("CCD", "Only", "CCD1"),
    ),
    (b'<pingReply uid="abc"/>', indi.PingReply("abc")),
    (b'<pingRequest uid="abc" />', indi.PingRequest("abc")),
    (
        b"<newSwitchVector device='CCD' name='CONNECTION'>"
        b"<oneSwitch name='CONNECT'>On</oneSwitch></newSwitchVector>",
        indi.NewVector("Switch", "CCD", "CONNECTION", {"CONNECT": "On"}),
    ),
]
GOOD = b'<message message="good"/>'


def read(data: bytes, size: int = 1 << 20) -> tuple[list[indi.Element], ElementReader]:
    reader = ElementReader()
    found: list[indi.Element] = []
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
        found += reader.elements()
    return found, reader


def only(data: bytes) -> indi.Element:
    found, reader = read(data)
    assert (len(found), reader.errors) == (1, 0), found
    return found[0]


def blob(
    data: bytes, *, wrap: bool, format: str = ".fits", size: int | None = None
) -> bytes:
    text = base64.encodebytes(data) if wrap else base64.b64encode(data)
    count = len(data) if size is None else size
    one = b'<oneBLOB name="CCD1" size="%d" format="%s">\n%s\n</oneBLOB>' % (
        count,
        format.encode(),
        text,
    )
    head = b'<setBLOBVector device="CCD" name="CCD1" state="Ok" timeout="60">'
    return b"%s\n%s\n</setBLOBVector>\n" % (head, one)


def test_a_set_of_indiserver() -> None:
    assert only(SET) == SetVector(
        "Number",
        "Telescope Simulator",
        "EQUATORIAL_EOD_COORD",
        {"RA": "9.3911510557825703671", "DEC": "-12:30:00"},
        "Busy",
        60.0,
        "2026-11-20T10:00:00",
    )


def test_definitions_of_each_kind() -> None:
    switches = only(SWITCHES)
    assert isinstance(switches, indi.DefVector)
    assert switches.rule == "OneOfMany"
    assert switches.label == "Connection"
    assert switches.timeout == 60.0
    assert [(m.name, m.label, m.value) for m in switches.members] == [
        ("CONNECT", "Connect", "Off"),
        ("DISCONNECT", "Disconnect", "On"),
    ]
    numbers = only(NUMBERS)
    assert isinstance(numbers, indi.DefVector)
    assert numbers.members == (
        indi.DefMember(
            "CCD_EXPOSURE_VALUE", "Duration (s)", "1", "%5.2f", "0.01", "3600", "1"
        ),
    )
    lights, blobs = only(LIGHTS), only(BLOBS)
    assert isinstance(lights, indi.DefVector) and isinstance(blobs, indi.DefVector)
    assert (lights.perm, lights.members[0].value) == ("ro", "Alert")
    assert (blobs.timeout, blobs.members) == (60.0, (indi.DefMember("CCD1", "Image"),))


@pytest.mark.parametrize(("data", "expected"), OTHERS, ids=lambda each: str(each)[:40])
def test_the_other_elements(data: bytes, expected: indi.Element) -> None:
    assert only(data) == expected


@pytest.mark.parametrize(
    "data", [SET, SWITCHES, NUMBERS, LIGHTS, BLOBS, *(data for data, _ in OTHERS)]
)
def test_what_is_written_reads_as_it_was(data: bytes) -> None:
    element = only(data)
    assert only(indi.encode(element)) == element


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
    st.text(),
    st.floats(allow_nan=False),
)
def test_any_text_and_number_survives_the_way_there_and_back(
    name: str, text: str, number: float
) -> None:
    text = "".join(each for each in text if each.isprintable()).strip()
    written = indi.NewVector("Text", name, name, {name: text, "n": repr(number)})
    assert only(indi.encode(written)) == written
    assert only(indi.encode(indi.Message(text, name))) == indi.Message(text, name)


def test_bounds_may_come_with_a_set() -> None:
    data = b"""<setNumberVector device="a" name="b">\
<oneNumber name="x" min="1" max="5" step="0.5">2</oneNumber>\
<oneNumber name="y">3</oneNumber></setNumberVector>"""
    found = only(data)
    assert isinstance(found, SetVector)
    assert found.members == {"x": "2", "y": "3"}
    assert found.ranges == {"x": Range("1", "5", "0.5")}
    assert (found.state, found.timeout) == (None, None)


def test_a_set_of_no_member() -> None:
    found = only(b'<setSwitchVector device="a" name="b" state="Idle" message="no"/>')
    assert isinstance(found, SetVector)
    assert (found.members, found.message) == ({}, "no")


def test_comments_and_cdata_are_xml_too() -> None:
    data = b"""<!-- <setTextVector> --><setTextVector device="a" name="b">\
<!-- no --><oneText name="x"><![CDATA[a<b&c]]></oneText></setTextVector><!---->"""
    found = only(data)
    assert isinstance(found, SetVector)
    assert found.members == {"x": "a<b&c"}


@given(st.data())
def test_any_pieces_give_the_same(data: st.DataObject) -> None:
    parts = [
        SET,
        SWITCHES,
        LIGHTS,
        blob(bytes(range(256)), wrap=True),
        b"&junk",
        b"<x/>",
        *(each for each, _ in OTHERS),
    ]
    stream = b"".join(data.draw(st.lists(st.sampled_from(parts), max_size=8)))
    whole, _ = read(stream)
    pieces, _ = read(stream, data.draw(st.integers(1, 80)))
    assert joined(pieces) == joined(whole)


def joined(elements: list[indi.Element]) -> list[object]:
    """Return elements with the pieces of a BLOB joined.

    Of what was skipped only the fact: how much it shows depends on the pieces.
    """
    found: list[object] = []
    for each in elements:
        if isinstance(each, Skipped):
            found.append(Skipped)
        elif not isinstance(each, BlobData):
            found.append(each)
        elif found and isinstance(found[-1], bytes):
            found[-1] += each.data
        else:
            found.append(each.data)
    return found


def content(elements: list[indi.Element]) -> bytes:
    """Return the bytes of all BLOBs among elements."""
    return b"".join(each.data for each in elements if isinstance(each, BlobData))


@given(st.binary(max_size=400))
def test_garbage_costs_itself_and_is_never_an_exception(garbage: bytes) -> None:
    found, reader = read(garbage + b"\n" + GOOD * 2)
    assert (
        indi.Message("good") in found or b"<!--" in garbage or b"BLOBVector" in garbage
    )
    assert reader.errors >= sum(isinstance(each, Skipped) for each in found)


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("size", [1, 7, 4096, 70_000])
def test_a_blob_comes_in_pieces_as_it_was(wrap: bool, size: int) -> None:
    data = random.Random(1).randbytes(50_001)
    found, reader = read(blob(data, wrap=wrap), size)
    assert found[0] == BlobStart("CCD", "CCD1", "CCD1", len(data), ".fits")
    assert content(found) == data
    assert found[-2:] == [
        BlobEnd(),
        SetVector("BLOB", "CCD", "CCD1", {"CCD1": ".fits"}, "Ok", 60.0),
    ]
    assert reader.errors == 0
    assert len(reader._input) <= max(size, 100)  # nothing is kept that has been given


def test_a_blob_to_a_driver_and_back() -> None:
    sent = indi.NewBlob(b"\0\1\2", ".bin", 3)
    found, _ = read(
        indi.encode(indi.NewVector("BLOB", "CCD", "UP", {}, blobs={"one": sent}))
    )
    assert found == [
        BlobStart("CCD", "UP", "one", 3, ".bin"),
        BlobData(b"\0\1\2"),
        BlobEnd(),
        indi.NewVector("BLOB", "CCD", "UP", {"one": ".bin"}),
    ]


def test_a_blob_that_is_only_a_state() -> None:
    for one in (
        b'<oneBLOB name="CCD1" size="0" enclen="0" format=".fits">\n </oneBLOB>',
        b'<oneBLOB name="CCD1"/>',
    ):
        head = b'<setBLOBVector device="CCD" name="CCD1" state="Alert">'
        found, reader = read(head + one + b"</setBLOBVector>")
        assert [type(each) for each in found] == [BlobStart, BlobEnd, SetVector]
        assert found[-1].state == "Alert"
        assert reader.errors == 0


TEXT_HEAD = b'<setTextVector device="a" name="b">'
BLOB_HEAD = b'<setBLOBVector device="a" name="b">'
ONE_BLOB = b'<oneBLOB name="x" size="3" format=".x">'
HOSTILE = {
    "no end tag": TEXT_HEAD + b'<oneText name="x">1</oneText>',
    "a wrong end tag": TEXT_HEAD + b'<oneText name="x">1</oneNumber></setTextVector>',
    "a member without an end": TEXT_HEAD + b'<oneText name="x">1</setTextVector>',
    "a quotation mark is missing": b'<message message="oh no />',
    "< in an attribute": b'<message message="1 < 2"/>',
    "no device": b'<setTextVector name="b">'
    b'<oneText name="x">1</oneText></setTextVector>',
    "no name": b'<setTextVector device="a">'
    b'<oneText name="x">1</oneText></setTextVector>',
    "a state that is none": b'<setTextVector device="a" name="b" state="Fine"/>',
    "a switch that is none": b'<setSwitchVector device="a" name="b">'
    b'<oneSwitch name="x">1</oneSwitch></setSwitchVector>',
    "a light that is none": b'<setLightVector device="a" name="b">'
    b'<oneLight name="x">Red</oneLight></setLightVector>',
    "an unknown element": b'<hello world="1"><there/></hello>',
    "an end tag alone": b"</setTextVector>",
    "an XML declaration": b'<?xml version="1.0"?>',
    "a DTD": b'<!DOCTYPE x [<!ENTITY a "&b;&b;&b;"><!ENTITY b "boom">]>',
    "text between elements": b"hello",
    "BLOB without an end": BLOB_HEAD + ONE_BLOB + b"AAAA",
    "BLOB cut within base64": BLOB_HEAD + ONE_BLOB + b"AAA",
    "BLOB that is no base64": blob(b"", wrap=True).replace(b"\n\n", b"\n!!!!\n"),
    "BLOB with padding within": blob(b"", wrap=True).replace(b"\n\n", b"\nAA==AAAA\n"),
    "BLOB of something else": BLOB_HEAD
    + b'<oneText name="x">A</oneText></setBLOBVector>',
    "enableBLOB of what is none": b'<enableBLOB device="a">Perhaps</enableBLOB>',
}


@pytest.mark.parametrize("bad", HOSTILE.values(), ids=HOSTILE)
def test_one_bad_element_costs_one_element(bad: bytes) -> None:
    for size in (1, 64, 1 << 20):
        found, reader = read(GOOD + bad + SET * 50 + GOOD, size)
        messages = [each for each in found if isinstance(each, indi.Message)]
        sets = [each for each in found if isinstance(each, SetVector)]
        assert messages == [indi.Message("good")] * 2
        assert [each.kind for each in sets].count("Number") == 50
        assert reader.errors == 1


# Pieces of which thousands come without their ends: the cost of each must not grow with
# their number.
UNFINISHED = {
    "start tags": TEXT_HEAD,
    "start tags of two kinds": TEXT_HEAD + b'<setNumberVector device="a" name="b">',
    "comments": b"<!--",
    "CDATA": b"<![CDATA[",
    "instructions": b"<?",
}


@pytest.mark.parametrize("piece", UNFINISHED.values(), ids=UNFINISHED)
def test_what_has_no_end_thousands_of_times_is_skipped_without_delay(
    piece: bytes,
) -> None:
    end = b'</setTextVector></setNumberVector><message message="on"/>'
    reader = indi.ElementReader()
    # minutes, if the rest was searched for each
    reader.feed(TEXT_HEAD + piece * (200_000 // len(piece)) + end)
    elements = list(reader.elements())
    assert elements[-1] == indi.Message("on")
    assert isinstance(elements[0], indi.Skipped)
    assert reader.errors >= 1


def test_an_element_within_one_that_has_no_end_is_there() -> None:
    inner = (
        b'<setTextVector device="a" name="in">'
        b'<oneText name="x">1</oneText></setTextVector>'
    )
    reader = indi.ElementReader()
    reader.feed(
        b'<setTextVector device="a" name="out">' * 3
        + b'<message message="in"/>'
        + inner
    )
    kinds = [type(each) for each in reader.elements()]
    assert kinds == [indi.Skipped] * 3 + [indi.Message, indi.SetVector]


def test_an_ampersand_that_is_no_reference_is_taken_as_it_is_and_counted() -> None:
    found, reader = read(b'<message message="a & b &unknown; &#0; &#xD800;"/>' + GOOD)
    assert found == [
        indi.Message("a & b &unknown; &#0; &#xD800;"),
        indi.Message("good"),
    ]
    assert reader.errors == 1


def test_latin_1_is_read_and_counted() -> None:
    element = (
        '<setTextVector device="Kamera äöü" name="b" message="temp 10°C">'
        '<oneText name="x">Téléscope</oneText>'
    )
    for encoding, latin1 in (("utf-8", 0), ("latin-1", 2)):
        found, reader = read(element.encode(encoding) + b"</setTextVector>" + SET * 50)
        first = found[0]
        assert isinstance(first, SetVector)
        assert first.device == "Kamera äöü"
        assert first.message == "temp 10°C"
        assert first.members["x"] == "Téléscope"
        assert (len(found), reader.errors, reader.latin1) == (51, 0, latin1)


def test_what_is_too_large_is_given_up_and_memory_stays_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "ELEMENT_LIMIT", 20_000)
    monkeypatch.setattr(reader, "HEAD_LIMIT", 5_000)
    endless = b'<setTextVector device="a" name="b"><oneText name="x">'
    for start in (endless, b'<message message="', b"<!-- "):
        made = ElementReader()
        made.feed(start)
        found = list(made.elements())
        for _ in range(100):
            made.feed(b"x" * 1000)
            found += made.elements()
            assert len(made._input) < 22_000
        assert [type(each) for each in found] == [Skipped]
        made.feed(GOOD)
        assert list(made.elements()) == [indi.Message("good")]


def test_it_goes_on_behind_an_element_whose_taker_failed() -> None:
    made = ElementReader()
    made.feed(SET + GOOD)
    with pytest.raises(ZeroDivisionError):
        for _ in made.elements():
            raise ZeroDivisionError
    assert list(made.elements()) == [indi.Message("good")]


def test_a_compressed_blob_is_given_as_it_is() -> None:
    packed = zlib.compress(b"x" * 1000)
    found, _ = read(blob(packed, wrap=False, format=".txt.z", size=1000))
    assert found[0] == BlobStart("CCD", "CCD1", "CCD1", 1000, ".txt.z")
    assert zlib.decompress(content(found)) == b"x" * 1000


# Texts of numbers. Source of the formats: `fs_sexa` and `numberFormat` of the C
# library, and its test_core.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12.0),
        (" -1.5e3 ", -1500.0),
        ("-0:30", -0.5),
        ("12:30:36", 12.51),
        ("12 30 36", 12.51),
        ("12;30", 12.5),
        ("-12:30:00", -12.5),
        ("+1:30", 1.5),
        ("9.3911510557825703671", 9.39115105578257),
    ],
)
def test_numbers_as_text(text: str, value: float) -> None:
    assert indi.parse_number(text) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "1_0",
        "1:2:3:4",
        "--1",
        "1:",
        "0x10",
        "1.5\x1c",
        "\uff11\uff12",
        "1:\uff13\uff10",
    ],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="is not a number"):
        indi.parse_number(text)


@pytest.mark.parametrize(
    ("value", "format", "text"),
    [
        (12.51, "%10.6m", "  12:30:36"),
        (-0.5, "%9.6m", " -0:30:00"),
        (12.51, "%8.3m", "   12:31"),
        (12.51, "%8.5m", " 12:30.6"),
        (12.51, "%.8m", "12:30:36.0"),
        (12.511111, "%12.9m", " 12:30:40.00"),
        (1.9999999, "%.6m", "2:00:00"),
        (12.51, "%10.4m", "     12:31"),
        (-0.0000001, "%.6m", "0:00:00"),
        (12.51, "%5.2f", "12.51"),
        (12.51, "%g s", "12.51 s"),
        (12.51, "%d", "12"),
        (12.51, "%s", "12.51"),
        (12.51, "", "12.51"),
        (math.inf, "%.6m", "inf"),
        (3, "%%%d", "%3"),
        (1.5, "%-9.6m", "1:30:00  "),
        (1.5, "%-.6m", "1:30:00"),
        (1.5, f"%.{'9' * 5000}m", "1.5"),
        (1e308, "%10.6m", "1e+308"),
        (5, "%%d%", "5"),
        (12.51, "%999999999f", "12.51"),
    ],
)
def test_formatted_numbers(value: float, format: str, text: str) -> None:
    assert indi.format_number(value, format) == text


@given(st.floats(-1e6, 1e6), st.sampled_from([3, 5, 6, 8, 9, 12]))
def test_a_formatted_number_reads_as_it_was(value: float, digits: int) -> None:
    text = indi.format_number(value, f"%20.{digits}m")
    assert indi.parse_number(text) == pytest.approx(value, abs=0.6 / 60)


def test_times() -> None:
    assert indi.parse_time("1970-01-01T00:01:00") == 60.0
    assert indi.parse_time("1970-01-01T00:01:00.5") == 60.5
    for text in ("2026-13-01T00:00:00", "now", ""):
        assert indi.parse_time(text) is None
    assert indi.parse_time("9999-12-31T23:59:59.9999999") is None
    for never in (1e15, -1e15, 253402300799.9999, math.nan):
        with pytest.raises(ValueError, match=r"no Unix time|out of range"):
            indi.format_time(never)
    assert indi.format_time(60.0) == "1970-01-01T00:01:00"
    assert indi.format_time(60.25) == "1970-01-01T00:01:00.250"


def test_what_is_sexagesimal() -> None:
    assert indi.is_sexagesimal("%10.6m")
    assert not indi.is_sexagesimal("%5.2f")
