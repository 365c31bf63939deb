"""What sigrok-cli 0.7.2 writes, as it was seen here, and what is none of it."""

import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.codecs import sigrok
from busbar.errors import BusbarError, ProtocolError, TooLarge

METADATA = """[global]
sigrok version=0.5.2

[device 1]
capturefile=logic-1
total probes=8
samplerate=333.333 kHz
total analog=1
probe1=D0
probe8=D7
analog9=A1
unitsize=1
"""
PARTS = {
    "version": b"2",
    "metadata": METADATA.encode(),
    "logic-1-10": b"\x80",  # parts are numbered, not in order of their names
    "logic-1-2": b"\x00\x81",
    "logic-1-1": b"\x01",
    "analog-1-9-1": struct.pack("<4f", 0.0, 1.5, 1.5, -2.0),
}
FOUND = (
    "The following devices were found:\n"
    "demo - Demo device with 13 channels: D0 D1\n"
    "saleae-logic16:conn=1.7 - Saleae Logic16 with 2 channels: 0 1\n"
)
SHOWN = """Driver functions:
    Logic analyzer
fx2lafw:conn=1.7 - Saleae Logic with 2 channels: D0 D1
Channel groups:
    Logic: channels D0 D1
Supported configuration options across all channel groups:
    continuous: on, off
    samplerate - supported samplerates:
      20 kHz
      1 MHz (current)
      24 MHz
    Supported triggers: 0 1 r f e
    captureratio: 20 (current)
"""


def session(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_a_session_has_its_rate_exactly_and_its_parts_in_order() -> None:
    capture = sigrok.read(session(PARTS), 1000)
    assert (capture.rate, capture.samples) == (333_333, 4)
    assert capture.channels == ("D0", "D7", "A1")
    assert list(capture.bits("D0")) == [1, 0, 1, 0]
    assert list(capture.bits("D7")) == [0, 0, 1, 1]
    assert capture.only(("D7",)).channels == ("D7",)


def test_a_session_that_unpacks_to_more_than_the_limit_is_refused() -> None:
    bomb = {**PARTS, "logic-1-1": bytes(3 << 20)}
    with pytest.raises(TooLarge):
        sigrok.read(session(bomb), 1 << 20)


def test_a_bit_beyond_the_unit_is_refused() -> None:
    wrong = METADATA.replace("probe8", "probe9").encode()
    with pytest.raises(ProtocolError):
        sigrok.read(session({**PARTS, "metadata": wrong}), 1000)


@given(st.integers(0, 600), st.binary(min_size=1, max_size=20))
def test_a_broken_session_is_an_error_of_ours_or_a_capture(
    at: int, data: bytes
) -> None:
    whole = session(PARTS)
    broken = whole[:at] + data + whole[at + len(data) :]
    try:
        sigrok.read(broken, 1 << 20)
    except BusbarError:
        return


def test_a_dump_says_what_changes_and_when() -> None:
    capture = sigrok.Capture(1_000_000, {"D0": 0}, 1, b"\0\1\1\0", {})
    assert sigrok.vcd(capture).splitlines()[0] == "$timescale 1 us $end"
    assert sigrok.vcd(capture).splitlines()[-4:] == ["#0 0!", "#1 1!", "#3 0!", "#4"]


def test_comsrv_cut_the_names_of_drivers_with_a_dash() -> None:
    found = sigrok.parse_scan(FOUND)
    assert [each.address for each in found] == ["demo", "saleae-logic16:conn=1.7"]
    assert found[1].title == "Saleae Logic16"


def test_a_list_of_rates_has_its_lowest_and_highest() -> None:
    shown = sigrok.parse_show(SHOWN)
    rate = shown.option("samplerate")
    assert rate is not None
    assert (rate.least, rate.most, rate.current) == (20e3, 24e6, "1 MHz")
    assert shown.triggers == ("0", "1", "r", "f", "e")
    assert shown.groups == {"Logic": ("D0", "D1")}
    assert sigrok.parse_value("1 MHz", rate) == 1e6


@given(st.integers(1, 40))
def test_the_log_tells_the_trigger_in_pieces_of_any_size(size: int) -> None:
    text = (
        b"sr: [00:00.1] session: bus: Received SR_DF_LOGIC packet (4 bytes\n"
        b"cli: Received SR_DF_LOGIC (4 bytes, unitsize = 2).\n"
        b"cli: Received SR_DF_TRIGGER.\n"
        b"cli: Received SR_DF_LOGIC (60 bytes, unitsize = 2).\n"
        b"Device only sent 5 samples."
    )
    log = sigrok.ProgressLog()
    for at in range(0, len(text), size):
        log.feed(text[at : at + size])
    log.close()
    assert log.trigger == 2
    assert log.messages == ["Device only sent 5 samples."]


def test_a_line_that_is_no_event_costs_itself() -> None:
    reader = sigrok.AnnotationReader()
    text = (
        b'{"traceEvents": [\n'
        b'{"ph": "B", "ts": 10.0, "pid": "uart-1", "tid": "RX", "name": "4F"},\n'
        b"nonsense\n"
        b'{"ph": "E", "ts": 110.0, "pid": "uart-1", "tid": "RX", "name": "4F"}\n]}\n'
    )
    (found,) = [*reader.feed(text), *reader.close()]
    assert (found.start, found.end, found.text) == (1e-05, 0.00011, "4F")
    assert reader.skipped == 1
