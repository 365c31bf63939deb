"""Outcomes that have to be true, each on a recorded conversation with a real driver.

Each case names its trace in tests/traces/indi/.
"""

import asyncio
import json
from typing import Any

import pytest

from tests.indi_bridge.replayed import Replayed, replayed
from tests.indi_bridge.stage import COORDINATES, MOUNT, failure, observatory

NS, WE = "TELESCOPE_TIMED_GUIDE_NS", "TELESCOPE_TIMED_GUIDE_WE"
MOVE, VIDEO = "TELESCOPE_MOTION_NS", "CCD_VIDEO_STREAM"
PLACE = {"RA": 6.0, "DEC": 75.0}
UNPARK = "Please unpark the mount before issuing any motion/sync commands."

# A parked mount says [WARNING] and Idle, with its values as before; its right ascension
# goes on with the sky. Trace: sets before, the refused set, and the driver's text.
Set = tuple[str, dict[str, Any]]
REFUSED: dict[str, tuple[list[Set], Set, str]] = {
    "mount-goto-parked": ([], (COORDINATES, PLACE), UNPARK),
    "mount-sync-parked": (
        [("ON_COORD_SET", {"SYNC": True})],
        (COORDINATES, PLACE),
        UNPARK,
    ),
    "mount-track-parked": (
        [],
        ("TELESCOPE_TRACK_STATE", {"TRACK_ON": True}),
        "Telescope is Parked, Unpark before tracking.",
    ),
    "lx200-goto-parked": ([], (COORDINATES, {"RA": 5.0, "DEC": 30.0}), UNPARK),
    "mount-move-parked": ([], (MOVE, {"MOTION_NORTH": True}), UNPARK),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_a_parked_mount_refuses_is_an_error_of_the_device(name: str) -> None:
    before, (path, members), text = REFUSED[name]
    async with replayed(name) as stage:
        for each in before:
            assert (await stage.set(*each))["ok"]
        reply = await stage.set(path, members)
        said = failure(reply)
        assert said.startswith("device: ")
        assert text in said
        await stage.end()


async def test_goto_of_a_parked_mount_is_an_error_of_the_device() -> None:
    async with replayed("mount-goto-parked") as stage:
        said = failure(await stage.call("goto", ra=6.0, dec=75.0))
        assert said.startswith("device: ")
        assert UNPARK in said


async def test_a_mount_that_tracks_no_more_is_not_moved_by_the_sky_to_an_ok() -> None:
    """Our simulator refuses as the real one does, at any moment between its looks."""
    async with observatory() as stage:
        assert (await stage.call(MOUNT, "park"))["ok"]
        for command, arguments in (
            ("goto", {"ra": 1, "dec": 2}),
            ("goto", {"ra": 1, "dec": 2, "then": "sync"}),
            ("goto", {"ra": 1, "dec": 2, "then": "slew"}),
        ):
            told = failure(await stage.call(MOUNT, command, arguments))
            assert told.startswith("device: ")
            assert UNPARK in told
        assert (await stage.call(MOUNT, "unpark"))["ok"]
        assert (await stage.call(MOUNT, "goto", {"ra": 3, "dec": 40}))["ok"]


async def test_a_celestron_refuses_until_it_is_unparked() -> None:
    async with replayed("celestron-parked") as stage:
        for path, members, text in (
            (COORDINATES, {"RA": 1.0, "DEC": 80.0}, UNPARK),
            (
                "TELESCOPE_TRACK_STATE",
                {"TRACK_ON": True},
                "Telescope is Parked, Unpark before tracking.",
            ),
        ):
            told = failure(await stage.set(path, members))
            assert told.startswith("device: ")
            assert text in told
        assert (await stage.call("unpark"))["ok"]
        await stage.end()


async def test_a_goto_that_never_begins_is_not_ok() -> None:
    """The driver says Idle once a second, with the position that the sky turns."""
    async with replayed("onstep-goto") as stage:
        told = failure(
            await stage.set(COORDINATES, {"RA": 5.0, "DEC": 30.0, "_timeout": 20.0})
        )
        assert told.split(":")[0] in ("timeout", "device")


async def test_a_guide_pulse_that_is_refused_is_an_error_of_the_device() -> None:
    """Idle with the wanted value at once, then [ERROR], then Idle with 0."""
    async with replayed("pmc8-guide") as stage:
        told = failure(await stage.set(NS, {"TIMED_GUIDE_N": 300, "TIMED_GUIDE_S": 0}))
        assert told.startswith("device: ")
        assert "pulse guide not active" in told
        await stage.end()


@pytest.mark.parametrize("name", ["celestron-guide", "lx200-guide"])
async def test_a_guide_pulse_of_other_mounts_is_ok(name: str) -> None:
    async with replayed(name) as stage:
        reply = await stage.set(NS, {"TIMED_GUIDE_N": 300, "TIMED_GUIDE_S": 0})
        assert reply["ok"], reply
        await stage.end()


async def test_a_motion_whose_stop_fails_is_an_error_of_the_device() -> None:
    async with replayed("ioptron-move") as stage:
        reply = await stage.set(MOVE, {"MOTION_NORTH": True})
        assert reply["ok"], reply
        told = failure(
            await stage.set(MOVE, {"MOTION_NORTH": False, "MOTION_SOUTH": False})
        )
        assert told.startswith("device: ")
        assert "Error stopping N/S motion." in told
        await stage.end()


async def test_a_guide_pulse_that_is_over_is_ok() -> None:
    async with replayed("mount-guide") as stage:
        for path, members in (
            (COORDINATES, PLACE),
            (NS, {"TIMED_GUIDE_N": 300, "TIMED_GUIDE_S": 0}),
            (WE, {"TIMED_GUIDE_W": 1000, "TIMED_GUIDE_E": 0}),
        ):
            reply = await stage.set(path, members)
            assert reply["ok"], (path, reply)
        await stage.end()


async def test_a_guide_pulse_of_a_parked_mount_is_ok_as_the_driver_says() -> None:
    async with replayed("mount-guide-parked") as stage:
        reply = await stage.set(NS, {"TIMED_GUIDE_N": 300, "TIMED_GUIDE_S": 0})
        assert reply["ok"], reply
        await stage.end()


# Busy is the state of what is on. Trace: on and off.
BUSY_WHILE_ON: dict[str, tuple[Set, Set]] = {
    "mount-move": (
        (MOVE, {"MOTION_NORTH": True}),
        (MOVE, {"MOTION_NORTH": False, "MOTION_SOUTH": False}),
    ),
    "mount-track": (
        ("TELESCOPE_TRACK_STATE", {"TRACK_ON": True}),
        ("TELESCOPE_TRACK_STATE", {"TRACK_OFF": True}),
    ),
    "ccd-video": ((VIDEO, {"STREAM_ON": True}), (VIDEO, {"STREAM_OFF": True})),
    "ccd-cooler": (
        ("CCD_COOLER", {"COOLER_ON": True}),
        ("CCD_COOLER", {"COOLER_OFF": True}),
    ),
}


@pytest.mark.parametrize("name", BUSY_WHILE_ON)
async def test_what_is_busy_while_it_is_on_has_started(name: str) -> None:
    switch_on, switch_off = BUSY_WHILE_ON[name]
    async with replayed(name) as stage:
        reply = await stage.set(*switch_on)
        assert reply["ok"], reply
        path = switch_on[0]
        assert stage.value(path)["_state"] == "Busy"
        reply = await stage.set(*switch_off)
        assert reply["ok"], reply
        assert stage.value(path)["_state"] == "Idle"
        await stage.end()


def exposure_time(reply: dict[str, Any]) -> float:
    assert reply["ok"], reply
    return float(reply["result"]["about"]["fits"]["EXPTIME"])


async def test_expose_has_its_own_image_not_that_of_another_client() -> None:
    async with replayed("ccd-expose-foreign") as stage:
        await other_exposure_is_over(stage)
        assert exposure_time(await stage.call("expose", seconds=2.0)) == 2.0
        await stage.end()


async def test_expose_has_its_own_image_not_that_of_a_set_before() -> None:
    async with replayed("ccd-expose-twice") as stage:
        reply = await stage.set("CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 0.3})
        assert reply["ok"]
        assert exposure_time(await stage.call("expose", seconds=1.5)) == 1.5
        await stage.end()


async def test_expose_during_another_clients_is_refused_or_has_its_own_image() -> None:
    async with replayed("ccd-expose-foreign-busy") as stage:
        await stage.fly(lambda: stage.value("CCD_EXPOSURE")["_state"] == "Busy")
        reply = await stage.call("expose", seconds=1.0)
        if reply["ok"]:
            assert exposure_time(reply) == 1.0
        else:
            assert reply["error"]["code"] in ("busy", "device")


async def test_an_image_that_the_driver_keeps_is_told_by_its_file_name() -> None:
    async with replayed("ccd-expose-local") as stage:
        reply = await stage.set("UPLOAD_MODE", {"UPLOAD_LOCAL": True})
        assert reply["ok"]
        start = asyncio.get_running_loop().time()
        reply = await stage.call("expose", seconds=0.5)
        assert "/home/indi/IMAGE_001.fits" in json.dumps(reply)
        # it cannot come, so it is not waited for
        assert asyncio.get_running_loop().time() - start < 30.0
        await stage.end()


async def test_steps_are_hints() -> None:
    async with replayed("focus-absolute", more="") as stage:
        reply = await stage.set(
            "ABS_FOCUS_POSITION", {"FOCUS_ABSOLUTE_POSITION": 51234}
        )
        assert reply["ok"], reply
        await stage.end()


async def test_a_switch_of_two_is_switched_off_by_the_other_one() -> None:
    async with replayed(
        "panel-light", more='steps: false\n    members: ["*/FLAT_LIGHT_CONTROL/*"]'
    ) as stage:
        path = "FLAT_LIGHT_CONTROL/FLAT_LIGHT_ON"
        assert (await stage.set(path, True))["ok"]
        reply = await stage.set(
            "FLAT_LIGHT_INTENSITY", {"FLAT_LIGHT_INTENSITY_VALUE": 40}
        )
        assert reply["ok"]
        reply = await stage.set(path, False)
        assert reply["ok"], reply
        await stage.end()


async def other_exposure_is_over(stage: Replayed) -> None:
    """Wait until another client's exposure has been Busy and Ok."""
    await stage.fly(lambda: said(stage)[-2:] == ["Busy", "Ok"])


def said(stage: Replayed) -> list[str]:
    """Return the states of CCD_EXPOSURE so far, each once."""
    states: list[str] = []
    for change in stage.bus.changes(stage.device):
        if change["path"] == "CCD_EXPOSURE" and "value" in change:
            state = change["value"]["_state"]
            if state not in states[-1:]:
                states.append(state)
    return states
