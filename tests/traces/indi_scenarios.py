"""What is said to Debian's INDI drivers when their conversations are recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.traces.indi_record import RawClient, Studio

Play = Callable[["Studio"], Awaitable[None]]
Prepare = Callable[["RawClient"], Awaitable[None]]

MOUNT = "Telescope Simulator"
CAMERA = "CCD Simulator"
FOCUSER = "Focuser Simulator"
DOME = "Dome Simulator"
WHEEL = "Filter Simulator"
ROTATOR = "Rotator Simulator"
PANEL = "Light Panel Simulator"
GPS = "GPS Simulator"
WEATHER = "Weather Simulator"
EOD = "EQUATORIAL_EOD_COORD"

SWITCHES = ("CONNECTION",)
OF_MOUNT = (
    "CONNECTION",
    EOD,
    "ON_COORD_SET",
    "TELESCOPE_PARK",
    "TELESCOPE_TRACK_STATE",
    "TELESCOPE_ABORT_MOTION",
)
OF_CAMERA = ("CONNECTION", "CCD_EXPOSURE", "CCD_ABORT_EXPOSURE", "CCD1")
OF_FOCUSER = (
    "CONNECTION",
    "ABS_FOCUS_POSITION",
    "REL_FOCUS_POSITION",
    "FOCUS_MOTION",
    "FOCUS_ABORT_MOTION",
)
OF_DOME = (
    "CONNECTION",
    "ABS_DOME_POSITION",
    "DOME_MOTION",
    "DOME_PARK",
    "DOME_SHUTTER",
    "DOME_ABORT_MOTION",
)


@dataclass(frozen=True)
class Scenario:
    """One conversation: with whom, about what, and which vectors of it are kept."""

    about: str
    drivers: tuple[str, ...]
    kept: tuple[str, ...]
    prepare: Prepare
    prepared: str  # `prepare` in words
    play: Play
    others: tuple[int, ...] = ()
    rest: float = 1.0  # s that are recorded after the last command


Step = tuple[Any, ...]


def steps(device: str, *script: Step) -> Prepare:
    """Return what says sets, one after the other.

    A step: kind, vector, members, and the states of vectors that are waited for; or
    `pause`.
    """

    async def play(client: RawClient) -> None:
        for kind, vector, members, *ends in script:
            if kind == "wait":
                await asyncio.sleep(members["s"])
                continue
            await client.new(kind, device, vector, **members)
            for name, state in ends:
                await client.state(name, state)
            if not ends:
                await asyncio.sleep(1.5)

    return play


def conversation(device: str, *script: Step, blobs: str = "") -> Play:
    """Return what starts a client (and one for BLOBs) and says sets."""

    async def play(studio: Studio) -> None:
        client = await studio.start(device)
        if blobs:
            await studio.blobs(device, blobs)
        await steps(device, *script)(client)

    return play


def pause(seconds: float) -> Step:
    return ("wait", "", {"s": seconds})


CONNECT: Step = ("Switch", "CONNECTION", {"CONNECT": "On"}, ("CONNECTION", "Ok"))
PARK: Step = (
    "Switch",
    "TELESCOPE_PARK",
    {"PARK": "On"},
    ("TELESCOPE_PARK", "Busy"),
    ("TELESCOPE_PARK", "Ok"),
)
SYNC: Step = ("Switch", "ON_COORD_SET", {"SYNC": "On"}, ("ON_COORD_SET", "Ok"))


def there(ra: float, dec: float, *ends: tuple[str, str]) -> Step:
    return ("Number", EOD, {"RA": ra, "DEC": dec}, *ends)


def near(*ends: tuple[str, str]) -> Step:
    """Return a goto that takes few seconds: the mount starts at the pole."""
    return there(6.0, 75.0, *ends)


def mount(
    about: str,
    *script: Step,
    prepared: tuple[Step, ...] = (),
    words: str = "connected",
    more: tuple[str, ...] = (),
) -> Scenario:
    return Scenario(
        about,
        ("indi_simulator_telescope",),
        (*OF_MOUNT, *more),
        steps(MOUNT, CONNECT, *prepared),
        words,
        conversation(MOUNT, *script),
    )


def parked(about: str, *script: Step, more: tuple[str, ...] = ()) -> Scenario:
    words = "connected, PARK On and waited for"
    return mount(about, *script, prepared=(PARK,), words=words, more=more)


SMALL: Step = (
    "Number",
    "CCD_FRAME",
    {"X": 0, "Y": 0, "WIDTH": 64, "HEIGHT": 64},
    ("CCD_FRAME", "Ok"),
)


def exposure(seconds: float, *ends: tuple[str, str]) -> Step:
    return ("Number", "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": seconds}, *ends)


DONE = ("CCD_EXPOSURE", "Ok")
NEXT = ("CCD_EXPOSURE", "Busy")


def camera(
    about: str,
    *script: Step,
    prepared: tuple[Step, ...] = (SMALL,),
    more: tuple[str, ...] = (),
    play: Play | None = None,
    others: tuple[int, ...] = (),
    rest: float = 1.0,
) -> Scenario:
    return Scenario(
        about,
        ("indi_simulator_ccd",),
        (*OF_CAMERA, *more),
        steps(CAMERA, CONNECT, *prepared),
        "connected, CCD_FRAME 64 x 64" if prepared else "connected",
        play or conversation(CAMERA, *script, blobs="CCD1"),
        others,
        rest,
    )


def other(
    about: str,
    driver: str,
    device: str,
    kept: tuple[str, ...],
    *script: Step,
    prepared: tuple[Step, ...] = (CONNECT,),
    words: str = "connected",
    rest: float = 1.0,
) -> Scenario:
    return Scenario(
        about,
        (driver,),
        kept,
        steps(device, *prepared),
        words,
        conversation(device, *script),
        (),
        rest,
    )


async def _foreign_exposure(studio: Studio) -> None:
    client = await studio.start(CAMERA)
    await studio.blobs(CAMERA, "CCD1")
    foreign = await studio.start(CAMERA)
    await foreign.new("Number", CAMERA, "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=1.0)
    await foreign.state(*DONE)
    await steps(CAMERA, exposure(2.0, DONE))(client)


async def _foreign_under_way(studio: Studio) -> None:
    client = await studio.start(CAMERA)
    await studio.blobs(CAMERA, "CCD1")
    foreign = await studio.start(CAMERA)
    await foreign.new("Number", CAMERA, "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=3.0)
    await foreign.state(*NEXT)
    await asyncio.sleep(0.5)
    await steps(CAMERA, exposure(1.0, NEXT, DONE))(client)


async def _foreign_goto(studio: Studio) -> None:
    client = await studio.start(MOUNT)
    foreign = await studio.start(MOUNT)
    await steps(MOUNT, there(6.0, 60.0, (EOD, "Busy")))(client)
    await asyncio.sleep(1.0)
    await foreign.new("Number", MOUNT, EOD, RA=7.0, DEC=75.0)
    await client.state(EOD, "Ok")


async def _killed(studio: Studio) -> None:
    client = await studio.start(FOCUSER)
    move = {"FOCUS_ABSOLUTE_POSITION": 90000}
    await client.new("Number", FOCUSER, "ABS_FOCUS_POSITION", **move)
    await asyncio.sleep(0.5)
    studio.kill("indi_simulator_focus")
    await client.wait("new definitions", lambda e: type(e).__name__ == "DefVector")
    await steps(FOCUSER, CONNECT)(client)


_FOCUS = "ABS_FOCUS_POSITION"
_AZIMUTH = "ABS_DOME_POSITION"


def _focus(position: float, *ends: tuple[str, str]) -> Step:
    return ("Number", _FOCUS, {"FOCUS_ABSOLUTE_POSITION": position}, *ends)


def _turn(azimuth: float, *ends: tuple[str, str]) -> Step:
    return ("Number", _AZIMUTH, {"DOME_ABSOLUTE_POSITION": azimuth}, *ends)


def focuser(about: str, *script: Step, more: tuple[str, ...] = ()) -> Scenario:
    kept = (*OF_FOCUSER, *more)
    return other(about, "indi_simulator_focus", FOCUSER, kept, *script)


def dome(about: str, *script: Step, prepared: tuple[Step, ...] = ()) -> Scenario:
    words = "connected, then " + ", ".join(each[1] for each in prepared)
    return other(
        about,
        "indi_simulator_dome",
        DOME,
        OF_DOME,
        *script,
        prepared=(CONNECT, *prepared),
        words=words if prepared else "connected",
    )


def switch(vector: str, member: str, *ends: tuple[str, str]) -> Step:
    return ("Switch", vector, {member: "On"}, *ends)


NS, WE = "TELESCOPE_TIMED_GUIDE_NS", "TELESCOPE_TIMED_GUIDE_WE"
MOVE = "TELESCOPE_MOTION_NS"
TRACK = "TELESCOPE_TRACK_STATE"
VIDEO = "CCD_VIDEO_STREAM"


def pulse(vector: str, member: str, other_member: str, ms: int, *ends: Any) -> Step:
    return ("Number", vector, {member: ms, other_member: 0}, *ends)


NO_MOTION = {"MOTION_NORTH": "Off", "MOTION_SOUTH": "Off"}

SCENARIOS: dict[str, Scenario] = {
    "mount-connect": other(
        "CONNECT and DISCONNECT of a mount",
        "indi_simulator_telescope",
        MOUNT,
        OF_MOUNT,
        CONNECT,
        pause(1.0),
        ("Switch", "CONNECTION", {"DISCONNECT": "On"}, ("CONNECTION", "Idle")),
        prepared=(),
        words="",
    ),
    "mount-goto": mount("goto and its end", near((EOD, "Busy"), (EOD, "Ok"))),
    "mount-goto-slew": mount(
        "goto with ON_COORD_SET SLEW",
        switch("ON_COORD_SET", "SLEW", ("ON_COORD_SET", "Ok")),
        near((EOD, "Busy"), (EOD, "Ok")),
    ),
    "mount-goto-again": mount(
        "goto to where it is",
        near((EOD, "Busy"), (EOD, "Ok")),
        near((EOD, "Busy"), (EOD, "Ok")),
    ),
    "mount-goto-parked": parked("goto of a parked mount", near()),
    "mount-goto-abort": mount(
        "goto and TELESCOPE_ABORT_MOTION",
        there(6.0, 20.0, (EOD, "Busy")),
        pause(1.5),
        switch("TELESCOPE_ABORT_MOTION", "ABORT", ("TELESCOPE_ABORT_MOTION", "Ok")),
    ),
    "mount-goto-superseded": Scenario(
        "goto, and another client's goto on the way",
        ("indi_simulator_telescope",),
        OF_MOUNT,
        steps(MOUNT, CONNECT),
        "connected",
        _foreign_goto,
        (2,),
    ),
    "mount-sync": mount("sync", SYNC, near((EOD, "Ok"))),
    "mount-sync-parked": parked("sync of a parked mount", SYNC, near()),
    "mount-track": mount(
        "TRACK_ON, TRACK_OFF: Busy while tracking",
        switch(TRACK, "TRACK_ON"),
        switch(TRACK, "TRACK_OFF"),
    ),
    "mount-track-parked": parked(
        "TRACK_ON of a parked mount", switch(TRACK, "TRACK_ON")
    ),
    "mount-move": mount(
        "MOTION_NORTH on and off: Busy while moving",
        switch(MOVE, "MOTION_NORTH"),
        ("Switch", MOVE, NO_MOTION),
        more=(MOVE,),
    ),
    "mount-move-parked": parked(
        "MOTION_NORTH of a parked mount", switch(MOVE, "MOTION_NORTH"), more=(MOVE,)
    ),
    "mount-park": mount("PARK", PARK),
    "mount-park-parked": parked(
        "PARK of a parked mount", switch("TELESCOPE_PARK", "PARK")
    ),
    "mount-unpark": parked("UNPARK", switch("TELESCOPE_PARK", "UNPARK")),
    "mount-unpark-unparked": mount(
        "UNPARK of a mount that is not parked", switch("TELESCOPE_PARK", "UNPARK")
    ),
    "mount-park-then-goto": mount(
        "goto while it parks: PARK stays Busy",
        there(6.0, 20.0, (EOD, "Busy"), (EOD, "Ok")),
        switch("TELESCOPE_PARK", "PARK", ("TELESCOPE_PARK", "Busy")),
        there(6.0, 22.0, (EOD, "Busy"), (EOD, "Ok")),
    ),
    "mount-guide": mount(
        "guide pulses: Busy, then Idle with 0",
        near((EOD, "Busy"), (EOD, "Ok")),
        pulse(NS, "TIMED_GUIDE_N", "TIMED_GUIDE_S", 300, (NS, "Busy"), (NS, "Idle")),
        pulse(WE, "TIMED_GUIDE_W", "TIMED_GUIDE_E", 1000, (WE, "Busy"), (WE, "Idle")),
        more=(NS, WE),
    ),
    "mount-guide-parked": parked(
        "a guide pulse of a parked mount",
        pulse(NS, "TIMED_GUIDE_N", "TIMED_GUIDE_S", 300),
        more=(NS, WE),
    ),
    "mount-rate": mount(
        "a slew rate: Ok at once",
        switch("TELESCOPE_SLEW_RATE", "2x"),
        more=("TELESCOPE_SLEW_RATE",),
    ),
    "mount-location": mount(
        "numbers that the driver rounds or says anew",
        (
            "Number",
            "GEOGRAPHIC_COORD",
            {"LAT": 45.5, "LONG": 370.25, "ELEV": 100},
            ("GEOGRAPHIC_COORD", "Ok"),
        ),
        more=("GEOGRAPHIC_COORD",),
    ),
    "ccd-connect": other(
        "CONNECT of a camera",
        "indi_simulator_ccd",
        CAMERA,
        ("CONNECTION", "CCD_EXPOSURE", "CCD_TEMPERATURE", "CCD1"),
        CONNECT,
        prepared=(),
        words="",
    ),
    "ccd-expose": camera("an exposure and its image", exposure(1.2, NEXT, DONE)),
    "ccd-expose-twice": camera(
        "an exposure, and the next one as soon as it is Ok",
        exposure(0.3, NEXT, DONE),
        exposure(1.5, NEXT, DONE),
        prepared=(),
        rest=2.0,
    ),
    "ccd-expose-foreign": camera(
        "another client's exposure, then ours as soon as it is Ok",
        prepared=(),
        play=_foreign_exposure,
        others=(3,),
        rest=2.0,
    ),
    "ccd-expose-foreign-busy": camera(
        "an exposure while another client's is under way",
        play=_foreign_under_way,
        others=(3,),
    ),
    "ccd-expose-abort": camera(
        "an exposure and CCD_ABORT_EXPOSURE",
        exposure(20, NEXT),
        pause(1.5),
        switch("CCD_ABORT_EXPOSURE", "ABORT", ("CCD_ABORT_EXPOSURE", "Ok")),
    ),
    "ccd-expose-too-long": camera("an exposure that is out of range", exposure(1e9)),
    "ccd-expose-local": camera(
        "an exposure with UPLOAD_LOCAL: a file name, no image",
        switch("UPLOAD_MODE", "UPLOAD_LOCAL", ("UPLOAD_MODE", "Ok")),
        exposure(0.5, NEXT, DONE),
        more=("UPLOAD_MODE", "CCD_FILE_PATH", "UPLOAD_SETTINGS"),
    ),
    "ccd-frame": camera(
        "a frame, binning and a frame type",
        SMALL,
        ("Number", "CCD_BINNING", {"HOR_BIN": 2, "VER_BIN": 2}, ("CCD_BINNING", "Ok")),
        switch("CCD_FRAME_TYPE", "FRAME_DARK", ("CCD_FRAME_TYPE", "Ok")),
        prepared=(),
        more=("CCD_FRAME", "CCD_BINNING", "CCD_FRAME_TYPE"),
    ),
    "ccd-video": camera(
        "video: Busy while it is on",
        switch(VIDEO, "STREAM_ON", (VIDEO, "Busy")),
        pause(1.0),
        switch(VIDEO, "STREAM_OFF", (VIDEO, "Idle")),
        prepared=(),
        more=(VIDEO,),
    ),
    "ccd-cool": camera(
        "cooling: Busy until it is there",
        (
            "Number",
            "CCD_TEMPERATURE",
            {"CCD_TEMPERATURE_VALUE": -3},
            ("CCD_TEMPERATURE", "Busy"),
            ("CCD_TEMPERATURE", "Ok"),
        ),
        prepared=(),
        more=("CCD_TEMPERATURE", "CCD_COOLER", "CCD_TEMP_RAMP"),
    ),
    "ccd-cool-ramp": camera(
        "cooling with a ramp",
        (
            "Number",
            "CCD_TEMP_RAMP",
            {"RAMP_SLOPE": 30, "RAMP_THRESHOLD": 0.2},
            ("CCD_TEMP_RAMP", "Ok"),
        ),
        (
            "Number",
            "CCD_TEMPERATURE",
            {"CCD_TEMPERATURE_VALUE": -2},
            ("CCD_TEMPERATURE", "Busy"),
            ("CCD_TEMPERATURE", "Ok"),
        ),
        prepared=(),
        more=("CCD_TEMPERATURE", "CCD_COOLER", "CCD_TEMP_RAMP"),
    ),
    "ccd-cooler": camera(
        "the cooler on, off: Busy while it is on",
        switch("CCD_COOLER", "COOLER_ON"),
        switch("CCD_COOLER", "COOLER_OFF"),
        prepared=(),
        more=("CCD_COOLER", "CCD_TEMPERATURE"),
    ),
    "ccd-guide": camera(
        "a guide pulse of a camera: Ok at once, the value stays",
        pulse(NS, "TIMED_GUIDE_N", "TIMED_GUIDE_S", 300, (NS, "Ok")),
        prepared=(),
        more=(NS,),
    ),
    "focus-absolute": focuser("a position: no Busy", _focus(51234, (_FOCUS, "Ok"))),
    "focus-far": focuser(
        "a position 5 s away: nothing is said on the way, also to other sets",
        _focus(1234, *()),
        ("Number", "REL_FOCUS_POSITION", {"FOCUS_RELATIVE_POSITION": 10}),
        pause(5.0),
    ),
    "focus-relative": focuser(
        "steps inward",
        switch("FOCUS_MOTION", "FOCUS_INWARD", ("FOCUS_MOTION", "Ok")),
        (
            "Number",
            "REL_FOCUS_POSITION",
            {"FOCUS_RELATIVE_POSITION": 1050},
            ("REL_FOCUS_POSITION", "Ok"),
        ),
    ),
    "focus-too-far": focuser("a position that is out of range", _focus(1e9)),
    "focus-again": focuser("the position where it is", _focus(50000)),
    "focus-killed": other(
        "the driver is killed on the way and started again by indiserver",
        "indi_simulator_focus",
        FOCUSER,
        OF_FOCUSER,
    ),
    "dome-turn": dome("an azimuth", _turn(30, (_AZIMUTH, "Busy"), (_AZIMUTH, "Ok"))),
    "dome-turn-parked": dome(
        "an azimuth of a parked dome",
        _turn(30),
        prepared=(
            switch("DOME_PARK", "PARK", ("DOME_PARK", "Busy"), ("DOME_PARK", "Ok")),
        ),
    ),
    "dome-shutter": dome(
        "the shutter",
        switch("DOME_SHUTTER", "SHUTTER_OPEN", ("DOME_SHUTTER", "Ok")),
        switch("DOME_SHUTTER", "SHUTTER_CLOSE", ("DOME_SHUTTER", "Ok")),
    ),
    "dome-park": dome(
        "PARK, UNPARK",
        switch("DOME_PARK", "PARK", ("DOME_PARK", "Busy"), ("DOME_PARK", "Ok")),
        switch("DOME_PARK", "UNPARK", ("DOME_PARK", "Ok")),
        prepared=(_turn(30, (_AZIMUTH, "Ok")),),
    ),
    "dome-abort": dome(
        "an azimuth and DOME_ABORT_MOTION",
        _turn(120, (_AZIMUTH, "Busy")),
        pause(1.5),
        switch("DOME_ABORT_MOTION", "ABORT", ("DOME_ABORT_MOTION", "Ok")),
    ),
    "wheel-turn": other(
        "a filter slot",
        "indi_simulator_wheel",
        WHEEL,
        ("CONNECTION", "FILTER_SLOT", "FILTER_NAME"),
        (
            "Number",
            "FILTER_SLOT",
            {"FILTER_SLOT_VALUE": 3},
            ("FILTER_SLOT", "Ok"),
        ),
    ),
    "wheel-no-slot": other(
        "a filter slot that is not there",
        "indi_simulator_wheel",
        WHEEL,
        ("CONNECTION", "FILTER_SLOT", "FILTER_NAME"),
        ("Number", "FILTER_SLOT", {"FILTER_SLOT_VALUE": 99}),
    ),
    "rotator-turn": other(
        "an angle",
        "indi_simulator_rotator",
        ROTATOR,
        ("CONNECTION", "ABS_ROTATOR_ANGLE", "ROTATOR_ABORT_MOTION"),
        (
            "Number",
            "ABS_ROTATOR_ANGLE",
            {"ANGLE": 25},
            ("ABS_ROTATOR_ANGLE", "Busy"),
            ("ABS_ROTATOR_ANGLE", "Ok"),
        ),
    ),
    "panel-light": other(
        "the light on, brighter, off",
        "indi_simulator_lightpanel",
        PANEL,
        ("CONNECTION", "FLAT_LIGHT_CONTROL", "FLAT_LIGHT_INTENSITY"),
        switch("FLAT_LIGHT_CONTROL", "FLAT_LIGHT_ON", ("FLAT_LIGHT_CONTROL", "Ok")),
        (
            "Number",
            "FLAT_LIGHT_INTENSITY",
            {"FLAT_LIGHT_INTENSITY_VALUE": 40},
            ("FLAT_LIGHT_INTENSITY", "Ok"),
        ),
        switch("FLAT_LIGHT_CONTROL", "FLAT_LIGHT_OFF"),
    ),
    "gps-refresh": other(
        "GPS_REFRESH: a momentary switch",
        "indi_simulator_gps",
        GPS,
        ("CONNECTION", "GPS_REFRESH", "GEOGRAPHIC_COORD"),
        switch("GPS_REFRESH", "REFRESH"),
    ),
    "weather-refresh": other(
        "WEATHER_REFRESH: a momentary switch",
        "indi_simulator_weather",
        WEATHER,
        ("CONNECTION", "WEATHER_REFRESH", "WEATHER_STATUS", "WEATHER_PARAMETERS"),
        switch("WEATHER_REFRESH", "REFRESH"),
    ),
    "weather-alert": other(
        "a parameter in danger: the lights, a message",
        "indi_simulator_weather",
        WEATHER,
        ("CONNECTION", "WEATHER_REFRESH", "WEATHER_STATUS", "WEATHER_CONTROL"),
        ("Number", "WEATHER_CONTROL", {"Wind": 90}),
        ("Switch", "WEATHER_REFRESH", {"REFRESH": "On"}),
        rest=3.0,
    ),
    "guide-camera-expose": other(
        "an exposure of the guide camera simulator",
        "indi_simulator_guide",
        "Guide Simulator",
        ("CONNECTION", "CCD_EXPOSURE"),
        exposure(0.5, NEXT, DONE),
    ),
    "no-hardware-focuser": other(
        "CONNECT of a driver whose hardware is not there",
        "indi_moonlite_focus",
        "MoonLite",
        SWITCHES,
        ("Switch", "CONNECTION", {"CONNECT": "On"}),
        prepared=(),
        words="",
        rest=3.0,
    ),
    "no-hardware-mount": other(
        "CONNECT of a driver whose hardware is not there",
        "indi_lx200classic",
        "LX200 Classic",
        SWITCHES,
        ("Switch", "CONNECTION", {"CONNECT": "On"}),
        prepared=(),
        words="",
        rest=3.0,
    ),
}


def simulating(
    about: str,
    driver: str,
    device: str,
    kept: tuple[str, ...],
    *script: Step,
    prepared: tuple[Step, ...] = (),
    rest: float = 3.0,
) -> Scenario:
    """Return a scenario with a driver of real hardware that simulates it."""
    words = "SIMULATION ENABLE, connected"
    for each in prepared:
        words += ", " + " ".join((each[1], *each[2]))
    return other(
        about,
        driver,
        device,
        ("CONNECTION", *kept),
        *script,
        prepared=(SIMULATE, CONNECT, pause(2.0), *prepared),
        words=words,
        rest=rest,
    )


SIMULATE: Step = (
    "Switch",
    "SIMULATION",
    {"ENABLE": "On"},
    ("SIMULATION", "Ok"),
)
CELESTRON = ("indi_celestron_gps", "Celestron GPS")
CLASSIC = ("indi_lx200classic", "LX200 Classic")
ONSTEP = ("indi_lx200_OnStep", "LX200 OnStep")
IOPTRON = ("indi_ioptronv3_telescope", "iOptronV3")
ASTROPHYSICS = ("indi_lx200ap_v2", "AstroPhysics V2")
SHORT = pulse(NS, "TIMED_GUIDE_N", "TIMED_GUIDE_S", 300, (NS, "Busy"), (NS, "Idle"))
CAP = "CAP_PARK"

SCENARIOS |= {
    "celestron-goto": simulating(
        "goto; the driver polls once a second",
        *CELESTRON,
        (EOD, TRACK),
        there(1.0, 80.0, (EOD, "Busy"), (EOD, "Ok")),
    ),
    "celestron-guide": simulating(
        "a guide pulse: motion and slew rate change with it",
        *CELESTRON,
        (NS, MOVE, "TELESCOPE_SLEW_RATE"),
        SHORT,
    ),
    "celestron-parked": simulating(
        "goto, TRACK_ON, UNPARK of a parked mount",
        *CELESTRON,
        (EOD, TRACK, "TELESCOPE_PARK"),
        there(1.0, 80.0),
        switch(TRACK, "TRACK_ON"),
        switch("TELESCOPE_PARK", "UNPARK"),
        prepared=(PARK,),
    ),
    "lx200-goto": simulating(
        "goto", *CLASSIC, (EOD,), there(5.0, 30.0, (EOD, "Busy"), (EOD, "Ok"))
    ),
    "lx200-guide": simulating(
        "a guide pulse: the motion vector is Busy with it", *CLASSIC, (NS, MOVE), SHORT
    ),
    "lx200-goto-parked": simulating(
        "goto of a parked mount",
        *CLASSIC,
        (EOD, "TELESCOPE_PARK"),
        there(5.0, 30.0),
        prepared=(PARK,),
    ),
    "onstep-goto": simulating(
        "goto that never begins: Idle with the position as before, once a second",
        *ONSTEP,
        (EOD,),
        there(5.0, 30.0),
        rest=5.0,
    ),
    "onstep-track": simulating(
        "TRACK_OFF that fails: an [ERROR] that is no UTF-8, nothing of the vector",
        *ONSTEP,
        (TRACK,),
        switch(TRACK, "TRACK_OFF"),
    ),
    "ioptron-goto": simulating(
        "goto that fails: [ERROR] and Alert, then Idle once a second",
        *IOPTRON,
        (EOD,),
        there(5.0, 30.0),
    ),
    "ioptron-guide": simulating(
        "a guide pulse: Ok at once, the value stays",
        *IOPTRON,
        (NS,),
        pulse(NS, "TIMED_GUIDE_N", "TIMED_GUIDE_S", 300, (NS, "Ok")),
    ),
    "ioptron-move": simulating(
        "a motion, and its stop that fails: Alert, both Off",
        *IOPTRON,
        (MOVE,),
        switch(MOVE, "MOTION_NORTH", (MOVE, "Busy")),
        ("Switch", MOVE, NO_MOTION),
    ),
    "pmc8-guide": simulating(
        "a guide pulse that is refused: Idle with the wanted value, then [ERROR]",
        "indi_pmc8_telescope",
        "PMC8",
        (NS,),
        pulse(NS, "TIMED_GUIDE_N", "TIMED_GUIDE_S", 300),
    ),
    "10micron-track": simulating(
        "TRACK_OFF of a mount that does not track: Idle at once",
        "indi_lx200_10micron",
        "10micron",
        (TRACK,),
        switch(TRACK, "TRACK_OFF"),
    ),
    "astrophysics-goto": simulating(
        "goto that fails: Alert as before, no text",
        *ASTROPHYSICS,
        (EOD,),
        there(5.0, 30.0),
    ),
    "temma-goto": simulating(
        "goto: Busy, then Alert once a second as before",
        "indi_temma_telescope",
        "Temma Takahashi",
        (EOD,),
        there(5.0, 30.0),
    ),
    "snapcap-cap": simulating(
        "a cap: Busy, Idle with the wanted values, Ok",
        "indi_snapcap",
        "SnapCap",
        (CAP,),
        switch(CAP, "PARK", (CAP, "Busy"), (CAP, "Ok")),
        switch(CAP, "UNPARK", (CAP, "Busy"), (CAP, "Ok")),
    ),
    "flipflat-light": simulating(
        "a light that is refused while the cap is open",
        "indi_flipflat",
        "Flip Flat",
        ("FLAT_LIGHT_CONTROL",),
        switch("FLAT_LIGHT_CONTROL", "FLAT_LIGHT_ON"),
    ),
    "baader-turn": simulating(
        "an azimuth that is refused: [WARNING], then Alert with a text of its own",
        "indi_baader_dome",
        "Baader Dome",
        (_AZIMUTH,),
        _turn(30),
    ),
    "rolloff-park-abort": other(
        "a roof that parks, aborted: Idle with both Off, then Alert",
        "indi_rolloff_dome",
        "RollOff Simulator",
        ("CONNECTION", "DOME_PARK", "DOME_MOTION", "DOME_ABORT_MOTION"),
        switch("DOME_PARK", "PARK", ("DOME_PARK", "Busy")),
        pause(1.0),
        switch("DOME_ABORT_MOTION", "ABORT", ("DOME_ABORT_MOTION", "Ok")),
        prepared=(CONNECT, pause(1.0), switch("DOME_MOTION", "DOME_CW"), pause(3.0)),
        words="connected, DOME_MOTION DOME_CW for some seconds",
    ),
    "manual-wheel": other(
        "a wheel that is turned by hand: Busy until somebody confirms it",
        "indi_manual_wheel",
        "Manual Filter",
        ("CONNECTION", "FILTER_SLOT", "FILTER_NAME", "CONFIRM_FILTER_SET"),
        ("Number", "FILTER_SLOT", {"FILTER_SLOT_VALUE": 2}, ("FILTER_SLOT", "Busy")),
        pause(1.0),
        ("Switch", "CONFIRM_FILTER_SET", {"FILTER_SET": "On"}),
    ),
    "trutech-wheel": simulating(
        "CONNECT that is Ok with [ERROR] messages before",
        "indi_trutech_wheel",
        "TruTech Wheel",
        ("FILTER_SLOT",),
        ("Number", "FILTER_SLOT", {"FILTER_SLOT_VALUE": 2}),
    ),
}
SCENARIOS["focus-killed"] = Scenario(
    SCENARIOS["focus-killed"].about,
    ("indi_simulator_focus",),
    OF_FOCUSER,
    steps(FOCUSER, CONNECT),
    "connected",
    _killed,
)
