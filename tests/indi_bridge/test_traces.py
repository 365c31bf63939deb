"""What the bridge makes of recorded conversations with real drivers.

tests/traces/README.md says how they were made. Values that are not right yet are in
test_outcomes.py.
"""

import asyncio
import base64
import re
from typing import Any

import pytest

from busbar.codecs import indi
from tests.indi_bridge.replayed import Replayed, replayed
from tests.indi_bridge.stage import COORDINATES, failure
from tests.traces.indi_text import elements, parsed, shortened
from tests.traces.trace import FOLDER, FROM_PEER, TO_PEER, Line, load, names

NS, WE = "TELESCOPE_TIMED_GUIDE_NS", "TELESCOPE_TIMED_GUIDE_WE"
ALL = names("indi")


def on(member: str) -> dict[str, Any]:
    return {member: True}


async def succeed(stage: Replayed, *sets: tuple[str, dict[str, Any]]) -> None:
    """Set one after the other; each has to end well."""
    for path, members in sets:
        reply = await stage.set(path, members)
        assert reply["ok"], (path, reply)


# Trace, sets that all end well, and values afterwards.
GOOD: dict[str, tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]] = {
    "10micron-track": ([("TELESCOPE_TRACK_STATE", on("TRACK_OFF"))], {}),
    "ccd-cool": (
        [("CCD_TEMPERATURE", {"CCD_TEMPERATURE_VALUE": -3})],
        {"CCD_TEMPERATURE": {"CCD_TEMPERATURE_VALUE": -3.0, "_state": "Ok"}},
    ),
    "ccd-cool-ramp": (
        [
            ("CCD_TEMP_RAMP", {"RAMP_SLOPE": 30, "RAMP_THRESHOLD": 0.2}),
            ("CCD_TEMPERATURE", {"CCD_TEMPERATURE_VALUE": -2}),
        ],
        {"CCD_COOLER": {"COOLER_ON": True, "_state": "Busy"}},
    ),
    "ccd-frame": (
        [
            ("CCD_FRAME", {"X": 0, "Y": 0, "WIDTH": 64, "HEIGHT": 64}),
            ("CCD_BINNING", {"HOR_BIN": 2, "VER_BIN": 2}),
            ("CCD_FRAME_TYPE", on("FRAME_DARK")),
        ],
        {"CCD_BINNING": {"HOR_BIN": 2.0}, "CCD_FRAME_TYPE": {"FRAME_DARK": True}},
    ),
    "celestron-goto": (
        [(COORDINATES, {"RA": 1.0, "DEC": 80.0})],
        {"TELESCOPE_TRACK_STATE": {"TRACK_ON": True, "_state": "Busy"}},
    ),
    "ccd-guide": ([(NS, {"TIMED_GUIDE_N": 300, "TIMED_GUIDE_S": 0})], {}),
    "dome-park": (
        [("DOME_PARK", on("PARK")), ("DOME_PARK", on("UNPARK"))],
        {"DOME_PARK": {"UNPARK": True}, "DOME_SHUTTER": {"SHUTTER_OPEN": True}},
    ),
    "dome-shutter": (
        [("DOME_SHUTTER", on("SHUTTER_OPEN")), ("DOME_SHUTTER", on("SHUTTER_CLOSE"))],
        {"DOME_SHUTTER": {"SHUTTER_CLOSE": True}},
    ),
    "dome-turn": (
        [("ABS_DOME_POSITION", {"DOME_ABSOLUTE_POSITION": 30})],
        {"ABS_DOME_POSITION": {"DOME_ABSOLUTE_POSITION": 30.0}},
    ),
    "focus-absolute": (
        [("ABS_FOCUS_POSITION", {"FOCUS_ABSOLUTE_POSITION": 51234})],
        {"ABS_FOCUS_POSITION": {"FOCUS_ABSOLUTE_POSITION": 51234.0}},
    ),
    "focus-again": ([("ABS_FOCUS_POSITION", {"FOCUS_ABSOLUTE_POSITION": 50000})], {}),
    "focus-relative": (
        [
            ("FOCUS_MOTION", on("FOCUS_INWARD")),
            ("REL_FOCUS_POSITION", {"FOCUS_RELATIVE_POSITION": 1050}),
        ],
        {"ABS_FOCUS_POSITION": {"FOCUS_ABSOLUTE_POSITION": 48950.0}},
    ),
    "gps-refresh": ([("GPS_REFRESH", on("REFRESH"))], {}),
    "guide-camera-expose": ([("CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 0.5})], {}),
    "ioptron-guide": ([(NS, {"TIMED_GUIDE_N": 300, "TIMED_GUIDE_S": 0})], {}),
    "lx200-goto": ([(COORDINATES, {"RA": 5.0, "DEC": 30.0})], {}),
    "mount-goto": (
        [(COORDINATES, {"RA": 6.0, "DEC": 75.0})],
        {"TELESCOPE_TRACK_STATE": {"TRACK_ON": True}, COORDINATES: {"_state": "Ok"}},
    ),
    "mount-goto-again": ([(COORDINATES, {"RA": 6.0, "DEC": 75.0})] * 2, {}),
    "mount-goto-slew": (
        [("ON_COORD_SET", on("SLEW")), (COORDINATES, {"RA": 6.0, "DEC": 75.0})],
        {},
    ),
    "mount-park": ([("TELESCOPE_PARK", on("PARK"))], {"TELESCOPE_PARK": on("PARK")}),
    "mount-park-parked": ([("TELESCOPE_PARK", on("PARK"))], {}),
    "mount-unpark": (
        [("TELESCOPE_PARK", on("UNPARK"))],
        {"TELESCOPE_PARK": on("UNPARK")},
    ),
    "mount-unpark-unparked": ([("TELESCOPE_PARK", on("UNPARK"))], {}),
    "mount-rate": ([("TELESCOPE_SLEW_RATE", on("2x"))], {}),
    "mount-sync": (
        [("ON_COORD_SET", on("SYNC")), (COORDINATES, {"RA": 6.0, "DEC": 75.0})],
        {},
    ),
    "panel-light": (
        [
            ("FLAT_LIGHT_CONTROL", on("FLAT_LIGHT_ON")),
            ("FLAT_LIGHT_INTENSITY", {"FLAT_LIGHT_INTENSITY_VALUE": 40}),
            ("FLAT_LIGHT_CONTROL", on("FLAT_LIGHT_OFF")),
        ],
        {"FLAT_LIGHT_INTENSITY": {"FLAT_LIGHT_INTENSITY_VALUE": 40.0}},
    ),
    "rotator-turn": (
        [("ABS_ROTATOR_ANGLE", {"ANGLE": 25})],
        {"ABS_ROTATOR_ANGLE": {"ANGLE": 25.0}},
    ),
    "snapcap-cap": (
        [("CAP_PARK", on("PARK")), ("CAP_PARK", on("UNPARK"))],
        {"CAP_PARK": {"UNPARK": True, "_state": "Ok"}},
    ),
    "weather-refresh": ([("WEATHER_REFRESH", on("REFRESH"))], {}),
    "wheel-turn": (
        [("FILTER_SLOT", {"FILTER_SLOT_VALUE": 3})],
        {"FILTER_SLOT": {"FILTER_SLOT_VALUE": 3.0}},
    ),
}


@pytest.mark.parametrize("name", GOOD)
async def test_a_real_driver_does_what_is_asked(name: str) -> None:
    sets, values = GOOD[name]
    async with replayed(name) as stage:
        await succeed(stage, *sets)
        await stage.end()
        for vector, expected in values.items():
            await stage.fly(
                lambda v=vector, e=expected: stage.value(v) | e == stage.value(v)
            )


# Trace, a set that fails, and what the error says.
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "astrophysics-goto": (
        COORDINATES,
        {"RA": 5.0, "DEC": 30.0},
        "EQUATORIAL_EOD_COORD: Alert",
    ),
    "baader-turn": (
        "ABS_DOME_POSITION",
        {"DOME_ABSOLUTE_POSITION": 30},
        "Dome is not calibrated. Please calibrate dome before issuing any commands.",
    ),
    "flipflat-light": (
        "FLAT_LIGHT_CONTROL",
        on("FLAT_LIGHT_ON"),
        "Cannot control light while cap is unparked.",
    ),
    "ioptron-goto": (
        COORDINATES,
        {"RA": 5.0, "DEC": 30.0},
        "Error setting RA/DEC.",
    ),
    "temma-goto": (
        COORDINATES,
        {"RA": 5.0, "DEC": 30.0},
        "Command STN-OFF is unhandled in Simulation.",
    ),
    "trutech-wheel": (
        "FILTER_SLOT",
        {"FILTER_SLOT_VALUE": 2},
        "Sending command select filter failed: Bad file descriptor",
    ),
    "dome-turn-parked": (
        "ABS_DOME_POSITION",
        {"DOME_ABSOLUTE_POSITION": 30},
        "Please unpark before issuing any motion commands.",
    ),
    "no-hardware-focuser": (
        "CONNECTION",
        on("CONNECT"),
        "Failed to connect to port (/dev/ttyUSB0)",
    ),
    "no-hardware-mount": (
        "CONNECTION",
        on("CONNECT"),
        "Failed to connect to port (/dev/ttyUSB0)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_real_driver_refuses_with_alert(name: str) -> None:
    path, members, text = REFUSED[name]
    async with replayed(name) as stage:
        said = failure(await stage.set(path, members))
        assert said.startswith("device: ")
        assert text in said
        await stage.end()


async def test_a_mount_is_connected_and_disconnected() -> None:
    async with replayed("mount-connect") as stage:
        assert (await stage.call("connect"))["ok"]
        await stage.fly(lambda: "TELESCOPE_PARK" in stage.bus.good(stage.device))
        assert (await stage.call("disconnect"))["ok"]
        await stage.end()
        await stage.fly(lambda: COORDINATES not in stage.bus.good(stage.device))


async def test_a_goto_that_is_aborted_is_cancelled() -> None:
    async with replayed("mount-goto-abort") as stage:
        goto = asyncio.ensure_future(
            stage.bus.set(stage.device, COORDINATES, {"RA": 6.0, "DEC": 20.0})
        )
        await stage.fly(lambda: stage.value(COORDINATES)["_state"] == "Busy")
        assert (await stage.call("abort"))["ok"]
        assert failure(await stage.hurried(goto)).startswith("cancelled: ")
        await stage.end()


async def test_an_exposure_that_is_aborted_is_cancelled() -> None:
    async with replayed("ccd-expose-abort") as stage:
        exposure = asyncio.ensure_future(
            stage.bus.call(stage.device, "expose", {"seconds": 20})
        )
        await stage.fly(lambda: stage.value("CCD_EXPOSURE")["_state"] == "Busy")
        assert (await stage.call("abort"))["ok"]
        assert failure(await stage.hurried(exposure)).startswith("cancelled: ")
        await stage.end()


async def test_a_turn_that_is_aborted_is_cancelled() -> None:
    async with replayed("dome-abort") as stage:
        turn = asyncio.ensure_future(
            stage.bus.call(stage.device, "dome", {"azimuth": 120})
        )
        await stage.fly(lambda: stage.value("ABS_DOME_POSITION")["_state"] == "Busy")
        assert (await stage.call("abort"))["ok"]
        assert failure(await stage.hurried(turn)).startswith("cancelled: ")
        await stage.end()


async def test_a_roof_that_is_aborted_is_cancelled() -> None:
    async with replayed("rolloff-park-abort") as stage:
        park = asyncio.ensure_future(stage.bus.call(stage.device, "park", {}))
        await stage.fly(lambda: stage.value("DOME_PARK")["_state"] == "Busy")
        assert (await stage.call("abort"))["ok"]
        assert failure(await stage.hurried(park)).startswith("cancelled: ")
        await stage.end()


async def test_a_wheel_that_is_turned_by_hand_is_waited_for() -> None:
    async with replayed("manual-wheel") as stage:
        turn = asyncio.ensure_future(
            stage.bus.set(stage.device, "FILTER_SLOT", {"FILTER_SLOT_VALUE": 2})
        )
        await stage.fly(lambda: stage.value("FILTER_SLOT")["_state"] == "Busy")
        assert (await stage.set("CONFIRM_FILTER_SET", on("FILTER_SET")))["ok"]
        assert (await stage.hurried(turn))["ok"]
        await stage.end()


async def test_a_focuser_says_nothing_on_its_way_and_takes_sets_in_turn() -> None:
    async with replayed("focus-far") as stage:
        far = asyncio.ensure_future(
            stage.bus.set(
                stage.device, "ABS_FOCUS_POSITION", {"FOCUS_ABSOLUTE_POSITION": 1234}
            )
        )
        await stage.fly(lambda: stage.peer.heard == 2)
        await succeed(stage, ("REL_FOCUS_POSITION", {"FOCUS_RELATIVE_POSITION": 10}))
        assert (await stage.hurried(far))["ok"]
        await stage.end()


async def test_a_driver_that_only_complains_has_not_answered() -> None:
    async with replayed("onstep-track") as stage:
        said = failure(await stage.set("TELESCOPE_TRACK_STATE", on("TRACK_OFF")))
        assert said.startswith("timeout: TELESCOPE_TRACK_STATE: no answer")
        assert "===CMD==> Track Off" in said
        await stage.end()


async def test_another_clients_goto_supersedes() -> None:
    async with replayed("mount-goto-superseded") as stage:
        said = failure(await stage.set(COORDINATES, {"RA": 6.0, "DEC": 60.0}))
        assert said == f"cancelled: {COORDINATES}: superseded by another set"
        await stage.end()


async def test_a_driver_that_is_killed_is_a_lost_link_and_comes_back() -> None:
    async with replayed("focus-killed") as stage:
        said = failure(
            await stage.set("ABS_FOCUS_POSITION", {"FOCUS_ABSOLUTE_POSITION": 90000})
        )
        assert said.startswith("link: ")
        await stage.fly(
            lambda: stage.bus.retained(stage.device, "status")["state"] == "online"
        )
        assert (await stage.call("connect"))["ok"]
        await stage.end()


async def test_a_park_that_a_goto_ends_stays_busy_until_the_timeout() -> None:
    async with replayed("mount-park-then-goto") as stage:
        await succeed(stage, (COORDINATES, {"RA": 6.0, "DEC": 20.0}))
        park = asyncio.ensure_future(
            stage.bus.set(
                stage.device, "TELESCOPE_PARK", {"PARK": True, "_timeout": 30.0}
            )
        )
        await stage.fly(lambda: stage.value("TELESCOPE_PARK")["_state"] == "Busy")
        await succeed(stage, (COORDINATES, {"RA": 6.0, "DEC": 22.0}))
        said = failure(await stage.hurried(park))
        assert said.startswith("timeout: TELESCOPE_PARK: still Busy after 30 s")


async def test_an_exposure_has_its_image() -> None:
    async with replayed("ccd-expose") as stage:
        reply = await stage.call("expose", seconds=1.2)
        assert reply["ok"], reply
        assert float(reply["result"]["about"]["fits"]["EXPTIME"]) == 1.2
        await stage.end()


@pytest.mark.parametrize("name", ALL)
def test_the_codec_reads_every_line(name: str) -> None:
    for line in load(f"indi/{name}").lines:
        if line.direction in (TO_PEER, FROM_PEER):
            found = parsed(line.data)
            assert found
            for each in found:
                # drivers define vectors of no device, too
                assert type(each) is not indi.Skipped or "no device" in each.why


@pytest.mark.parametrize("name", ALL)
def test_a_trace_is_small_and_says_how_it_was_made(name: str) -> None:
    trace = load(f"indi/{name}")
    assert sum(len(line.data) for line in trace.lines) < 20_000
    assert trace.about["made"] == f"python -m tests.traces.indi_record {name}"
    assert "indi-bin 1.9.9" in trace.about["peer"]


def test_pieces_of_a_stream_become_elements() -> None:
    data = b"<a x='1'/>\n<b>t<c/></b><d/>"
    pieces = [Line(0.1 * n, FROM_PEER, data[n : n + 1]) for n in range(len(data))]
    found = [(round(each.t, 1), each.data) for each in elements(pieces)]
    assert found == [(0.9, b"<a x='1'/>"), (2.2, b"<b>t<c/></b>"), (2.6, b"<d/>")]


def test_a_shortened_image_is_a_fits_file_with_its_cards() -> None:
    cards = [
        "SIMPLE  =                    T",
        "NAXIS1  =                   99",
        "EXPTIME =                  1.5",
        "END",
    ]
    file = "".join(each.ljust(80) for each in cards).ljust(28800).encode()
    body = base64.b64encode(file)
    whole = b'<setBLOBVector device="d" name="n"><oneBLOB name="n" size="28800" format='
    whole += b'".fits">' + body + b"</oneBLOB></setBLOBVector>"
    reader = indi.ElementReader()
    reader.feed(shortened(whole))
    start, data, end, _ = reader.elements()
    assert (start.size, len(data.data), end.error) == (2880, 2880, "")
    assert b"EXPTIME =                  1.5" in data.data
    assert b"NAXIS1" not in data.data


def test_the_protocol_page_names_every_trace_and_no_other() -> None:
    page = (FOLDER.parents[1] / "docs" / "protocols" / "indi.md").read_text()
    told = page[page.index("## 10.") :]
    kinds = "|".join(sorted({name.partition("-")[0] for name in ALL}))
    named = set(re.findall(rf"`((?:{kinds})-[a-z0-9-]+)`", told))
    assert named == set(ALL)
