"""Properties, values, sets and commands: the bridge on the simulated observatory."""

import asyncio

import pytest

from busbar.codecs import indi
from busbar.codecs.indi import DefMember, DefVector, NewVector, SetVector
from busbar.testing.fakes import until
from indi_bridge.connection import ARRIVAL, SILENCE
from indi_bridge.pending import PROGRESS
from indi_bridge.served_devices import GONE
from indi_bridge.simulator.devices import SimulatedFocuser
from tests.indi_bridge.stage import (
    CAMERA,
    COORDINATES,
    DOME,
    FOCUSER,
    MOUNT,
    WEATHER,
    WHEEL,
    empty,
    failure,
    observatory,
)

# What is told.


async def test_devices_vectors_and_members_are_on_the_bus() -> None:
    async with observatory() as stage:
        value = stage.vector(MOUNT, COORDINATES)
        # it does not track: the sky turns
        assert 3.0 < value["RA"] < 3.1
        assert value["DEC"] == 45.0
        assert value["_text"]["RA"].startswith("3:00:0")
        assert value["_text"]["DEC"] == "45:00:00"
        assert value["_state"] == "Idle"
        assert value["_timeout"] == 60.0
        assert value["_message"] is None
        assert stage.vector(MOUNT, "CONNECTION") | {"_time": 0} == {
            "CONNECT": True,
            "DISCONNECT": False,
            "_state": "Ok",
            "_time": 0,
            "_timeout": 60.0,
            "_message": None,
        }
        assert stage.vector(WEATHER, "WEATHER_STATUS")["WEATHER_WIND_SPEED"] == "Ok"
        assert stage.vector(WHEEL, "FILTER_NAME")["FILTER_SLOT_NAME_3"] == "Blue"
        counts = stage.bus.good("pi")
        assert (counts["devices"], counts["vectors"], counts["errors"]) == (9, 62, 0)


async def test_info_has_all_that_a_definition_says() -> None:
    async with observatory() as stage:
        about = stage.properties(MOUNT)[COORDINATES]
        assert about["title"] == COORDINATES
        assert about["group"] == "Main Control"
        assert about["access"] == "rw"
        assert about["original"] == COORDINATES
        assert about["schema"]["indi"] | {"state": ""} == {
            "type": "Number",
            "name": COORDINATES,
            "label": COORDINATES,
            "group": "Main Control",
            "state": "",
            "perm": "rw",
            "rule": None,
            "timeout": 60.0,
        }
        ra = about["schema"]["properties"]["RA"]
        assert (ra["minimum"], ra["maximum"], ra["title"]) == (0.0, 24.0, "RA")
        assert ra["indi"] == {
            "name": "RA",
            "format": "%010.6m",
            "min": 0.0,
            "max": 24.0,
            "step": 0.0,
        }
        assert (
            stage.properties(CAMERA)["CONNECTION"]["schema"]["indi"]["rule"]
            == "OneOfMany"
        )
        info = stage.bus.retained(MOUNT, "info")
        assert info["name"] == "Telescope Simulator"
        assert info["model"] == "Telescope Simulator"
        assert info["firmware"] == "1.0"


async def test_a_set_may_bring_another_timeout_or_none() -> None:
    async with observatory() as stage:
        for state, timeout, expected in (
            ("Ok", 5.0, 5.0),
            ("Idle", None, 5.0),
            ("Ok", 0.0, None),
        ):
            stage.simulator.send(
                SetVector(
                    "Number", "Dome Simulator", "ABS_DOME_POSITION", {}, state, timeout
                )
            )
            said = (state, expected)
            await stage.bus.value(
                DOME,
                "ABS_DOME_POSITION",
                lambda v, s=said: (v["_state"], v["_timeout"]) == s,
            )


async def test_foreign_names_are_mapped_and_info_has_the_originals() -> None:
    async with empty() as stage:
        members = (DefMember("1:2 à", "Ratio", "On"), DefMember("_x", "", "Off"))
        stage.simulator.send(
            DefVector("Switch", "Kamera äöü", "My Prop!", members, rule="AnyOfMany")
        )
        device = "Kamera____-"
        await until(
            lambda: [t for t in stage.bus.broker.retained if device in t], "the device"
        )
        name = next(t.split("/")[2] for t in stage.bus.broker.retained if device in t)
        await until(
            lambda: (
                "DRIVER_INFO" in stage.bus.good(name) or len(stage.properties(name)) > 1
            ),
            "its property",
        )
        (path, about), *_ = [
            (p, a)
            for p, a in stage.properties(name).items()
            if a.get("original") == "My Prop!"
        ]
        keys = {
            key: each["indi"]["name"]
            for key, each in about["schema"]["properties"].items()
            if "indi" in each
        }
        assert sorted(keys.values()) == ["1:2 à", "_x"]
        key = next(key for key, original in keys.items() if original == "_x")
        assert key == "x_x"
        reply = await stage.write(name, path, {key: True, "_timeout": 0.01})
        # nobody answers, but it was sent by its own name
        assert failure(reply).startswith("timeout")
        assert stage.simulator.received[-1].members == {"_x": "On"}


async def test_names_that_meet_are_not_served_until_names_separates_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = (DefMember("A", "", "x"),)
    async with empty() as stage:
        for device in ("a b", "a_b", "c"):
            stage.simulator.send(DefVector("Text", device, "V", one))
        await stage.online("c", "V")
        await until(
            lambda: (
                not [topic for topic in stage.bus.broker.retained if "/a_b/" in topic]
            ),
            "neither",
        )
        assert "have one name on the bus, a_b: set `names:`" in caplog.text
    async with empty("names: {a b: first}") as stage:
        for device in ("a b", "a_b"):
            stage.simulator.send(DefVector("Text", device, "V", one))
        await stage.online("first", "V")
        await stage.online("a_b", "V")


async def test_vectors_whose_names_meet_are_not_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with empty() as stage:
        for name in ("a b", "a_b", "c"):
            stage.simulator.send(
                DefVector("Text", "D", name, (DefMember("A", "", "x"),))
            )
        await stage.online("D", "c")
        await until(lambda: "a_b" not in stage.bus.good("D"))
        assert "shares its topic with another property" in caplog.text


async def test_a_prefix_and_a_selection() -> None:
    async with empty(
        'prefix: true\n    devices: {include: ["Weather*", "Dome*"], exclude: '
        '["Dome*"]}'
    ) as stage:
        stage.simulator.add_observatory()
        await stage.online("pi_Weather_Simulator", "WEATHER_PARAMETERS")
        for device in ("Dome Simulator", "Weather Simulator"):
            stage.simulator.drivers[device].say(f"of {device}")
        await until(
            lambda: stage.bus.events("pi_Weather_Simulator", "message"), "the message"
        )
        # that of a device that is not served
        assert not stage.bus.events("pi", "message")
        await stage.bus.clock.advance(1.25)
        await stage.bus.value("pi", "devices", lambda count: count == 1)
        rows = (await stage.bus.call("bridge", "list"))["result"]
        assert {row["device"] for row in rows} == {
            "pi",
            "pi_Weather_Simulator",
            "bridge",
        }


async def test_messages_have_a_severity_and_the_last_are_kept() -> None:
    async with observatory() as stage:
        driver = stage.simulator.drivers["Focuser Simulator"]
        for text in (
            "[ERROR] broken",
            "[WARNING] hot",
            "plain",
            *(f"[DEBUG] {number}" for number in range(7)),
        ):
            driver.say(text)
        await until(
            lambda: len(stage.bus.events(FOCUSER, "message")) >= 10, "the messages"
        )
        told = [
            (e["severity"], e["text"]) for e in stage.bus.events(FOCUSER, "message")
        ][-10:]
        assert told[:4] == [
            ("error", "broken"),
            ("warning", "hot"),
            ("info", "plain"),
            ("debug", "0"),
        ]
        await until(lambda: stage.bus.good(FOCUSER)["messages"][0]["text"] == "6")
        assert len(stage.bus.good(FOCUSER)["messages"]) == 8
        stage.simulator.send_raw(
            b'<message timestamp="2026-11-20T10:00:00" message="to all"/>'
        )
        await stage.bus.value(
            "pi", "messages", lambda notes: notes and notes[0]["text"] == "to all"
        )
        assert stage.bus.events("pi", "message")[-1]["severity"] == "info"


async def test_the_first_words_of_a_driver_are_an_event_too() -> None:
    async with empty() as stage:
        stage.simulator.send_raw(
            indi.encode(
                DefVector(
                    "Text",
                    "D",
                    "V",
                    (DefMember("A", "", "x"),),
                    message="[WARNING] cold",
                )
            )
            + indi.encode(indi.Message("hello", "D"))
        )
        await until(lambda: len(stage.bus.events("D", "message")) == 2, "the messages")
        told = [
            (each["severity"], each["text"])
            for each in stage.bus.events("D", "message")
        ]
        assert told == [("warning", "cold"), ("info", "hello")]


async def test_bounds_that_change_are_in_info_and_are_checked() -> None:
    async with observatory() as stage:
        bounds = {"FOCUS_ABSOLUTE_POSITION": indi.Range("0", "70000", "")}
        values = {"FOCUS_ABSOLUTE_POSITION": "50000"}
        stage.simulator.send(
            SetVector(
                "Number",
                "Focuser Simulator",
                "ABS_FOCUS_POSITION",
                values,
                ranges=bounds,
            )
        )
        schema = lambda: stage.properties(FOCUSER)["ABS_FOCUS_POSITION"]["schema"][  # noqa: E731
            "properties"
        ]
        await stage.bus.clock.advance(0.5)
        await until(
            lambda: schema()["FOCUS_ABSOLUTE_POSITION"]["maximum"] == 70000.0,
            "the new bound",
        )
        reply = await stage.call(FOCUSER, "focus", {"position": 80000})
        assert failure(reply).startswith("out_of_range")


async def test_bounds_that_the_driver_leaves_are_those_of_sets_only() -> None:
    """An exposure counts down to 0 and may be set from 0.01 on (measured, indiserver
    1.9.9)."""
    async with observatory() as stage:
        schema = lambda: stage.properties(CAMERA)["CCD_EXPOSURE"]["schema"][  # noqa: E731
            "properties"
        ]
        assert schema()["CCD_EXPOSURE_VALUE"]["minimum"] == 0.01
        assert (await stage.call(CAMERA, "expose", {"seconds": 0.2}))["ok"]
        # values wait for the info that has their new schema
        await stage.bus.clock.advance(0.5)
        await stage.bus.value(
            CAMERA, "CCD_EXPOSURE", lambda value: value["CCD_EXPOSURE_VALUE"] == 0.0
        )
        assert "minimum" not in schema()["CCD_EXPOSURE_VALUE"]
        assert schema()["CCD_EXPOSURE_VALUE"]["indi"]["min"] == 0.01
        reply = await stage.write(CAMERA, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 0})
        assert failure(reply) == (
            "out_of_range: CCD_EXPOSURE_VALUE: 0 is out of range; allowed: 0.01 to 3600"
        )
        assert (await stage.call(CAMERA, "get_properties"))["ok"]
        assert "minimum" not in schema()["CCD_EXPOSURE_VALUE"]


async def test_every_set_is_an_event_by_option() -> None:
    async with observatory('connect: ["*"]\n    received: true') as stage:
        before = len(stage.bus.events(WEATHER, "received"))
        for _ in range(3):
            stage.simulator.drivers["Weather Simulator"].show("WEATHER_STATUS", "Ok")
        await until(
            lambda: len(stage.bus.events(WEATHER, "received")) >= before + 3,
            "the events",
        )
        assert stage.bus.events(WEATHER, "received")[-1]["vector"] == "WEATHER_STATUS"


async def test_members_are_properties_of_their_own_by_option() -> None:
    async with observatory(
        'connect: ["*"]\n    members: ["Weather*/*", "Focuser*/ABS*"]'
    ) as stage:
        assert stage.bus.good(WEATHER)["WEATHER_PARAMETERS/WEATHER_TEMPERATURE"] == 12.0
        path = "ABS_FOCUS_POSITION/FOCUS_ABSOLUTE_POSITION"
        reply = await stage.write(FOCUSER, path, 51000)
        assert reply["result"] == 51000.0
        assert stage.bus.good(FOCUSER)[path] == 51000.0
        assert "REL_FOCUS_POSITION/FOCUS_RELATIVE_POSITION" not in stage.bus.good(
            FOCUSER
        )


async def test_commands_of_other_clients_are_events() -> None:
    async with observatory() as stage:
        new = NewVector("Switch", "Dome Simulator", "DOME_PARK", {"PARK": "On"})
        stage.simulator.send_raw(indi.encode(new))
        await until(lambda: stage.bus.events(DOME, "command"), "the event")
        event = stage.bus.events(DOME, "command")[0]
        assert (event["vector"], event["members"]) == ("DOME_PARK", {"PARK": "On"})
        stage.simulator.send_raw(b'<getProperties version="1.7" device="*"/>')
        await until(
            lambda: stage.bus.events("pi", "snoop"), "what a chained server asks"
        )


# Sets and their ends.


async def test_a_set_waits_for_its_end_and_says_so_meanwhile() -> None:
    async with observatory() as stage:
        reply = await stage.write(
            FOCUSER, "ABS_FOCUS_POSITION", {"FOCUS_ABSOLUTE_POSITION": 90000}
        )
        assert reply["result"]["_state"] == "Ok"
        assert reply["result"]["FOCUS_ABSOLUTE_POSITION"] == 90000.0
        assert reply["took"] >= 1.0
        progress = stage.bus.events(FOCUSER, "progress")
        assert progress[0]["target"] == "set/ABS_FOCUS_POSITION"
        assert "ABS_FOCUS_POSITION is Busy" in progress[0]["message"]
        assert len(progress) <= 1 + reply["took"] / PROGRESS


async def test_a_value_can_be_written_back_as_it_is() -> None:
    async with observatory() as stage:
        for device, path in (
            (MOUNT, COORDINATES),
            (WHEEL, "FILTER_NAME"),
            (MOUNT, "ON_COORD_SET"),
        ):
            reply = await stage.write(device, path, stage.vector(device, path))
            assert reply["ok"], reply


async def test_alert_is_a_refusal_with_the_drivers_words_even_if_they_come_later() -> (
    None
):
    async with observatory() as stage:
        values = {"FOCUS_ABSOLUTE_POSITION": "50000"}
        wide = {"FOCUS_ABSOLUTE_POSITION": indi.Range("0", "1e10", "")}
        stage.simulator.send(
            SetVector(
                "Number",
                "Focuser Simulator",
                "ABS_FOCUS_POSITION",
                values,
                ranges=wide,
            )
        )
        await stage.bus.clock.advance(0.5)
        reply = await stage.bus.call(FOCUSER, "focus", {"position": 200000})
        assert failure(reply) == (
            "device: ABS_FOCUS_POSITION: Alert: [ERROR] Requested position out of "
            "bound. Focus maximum position is 100000"
        )
        assert reply["error"]["detail"]["state"] == "Alert"


async def test_nothing_to_do_is_fine() -> None:
    async with observatory() as stage:
        reply = await stage.call(MOUNT, "unpark")
        assert reply["ok"]
        last = stage.bus.good(MOUNT)["messages"][0]
        assert last["text"] == "Telescope already unparked."


async def test_a_newer_set_supersedes_ours_or_another_clients() -> None:
    async with observatory() as stage:
        for supersede in (
            lambda: stage.bus.broker.publish(
                f"busbar/dome/{FOCUSER}/set/ABS_FOCUS_POSITION",
                '{"FOCUS_ABSOLUTE_POSITION": 50000}',
            ),
            lambda: stage.simulator.send_raw(
                indi.encode(
                    NewVector(
                        "Number", "Focuser Simulator", "ABS_FOCUS_POSITION", {"x": "1"}
                    )
                )
            ),
        ):
            before = len(stage.simulator.received)
            first = stage.bus.set(
                FOCUSER, "ABS_FOCUS_POSITION", {"FOCUS_ABSOLUTE_POSITION": 0}
            )
            task = asyncio.ensure_future(first)
            await until(lambda b=before: len(stage.simulator.received) > b, "the first")
            supersede()
            assert failure(await stage.hurried(task)).startswith(
                "cancelled: ABS_FOCUS_POSITION: superseded"
            )
            await stage.bus.clock.advance(6)


async def test_a_timeout_says_how_far_it_was_and_the_late_end_follows() -> None:
    async with observatory() as stage:
        reply = await stage.write(
            DOME, "ABS_DOME_POSITION", {"DOME_ABSOLUTE_POSITION": 180, "_timeout": 0.5}
        )
        assert failure(reply) == (
            "timeout: ABS_DOME_POSITION: still Busy after 0.5 s: [INFO] Dome is moving "
            "to position 180.00 degrees azimuth..."
        )
        await stage.bus.clock.advance(12)
        await until(lambda: stage.bus.events(DOME, "late"), "the late end")
        late = stage.bus.events(DOME, "late")[0]
        assert (late["vector"], late["state"]) == ("ABS_DOME_POSITION", "Ok")
        assert late["took"] > 0.5


@pytest.mark.parametrize(
    ("name", "state"), [("ABS_DOME_POSITION", "deleted"), ("", "gone")]
)
async def test_a_late_end_may_be_that_of_the_property_or_the_driver(
    name: str, state: str
) -> None:
    async with observatory() as stage:
        await stage.write(
            DOME, "ABS_DOME_POSITION", {"DOME_ABSOLUTE_POSITION": 180, "_timeout": 0.5}
        )
        stage.simulator.send(indi.DelProperty("Dome Simulator", name))
        await until(lambda: stage.bus.events(DOME, "late"), "the late end")
        assert stage.bus.events(DOME, "late")[0]["state"] == state


async def test_silence_is_an_event_and_a_timeout() -> None:
    async with observatory('connect: ["*"]\n    timeouts: {min: 1, max: 3}') as stage:
        stage.simulator.silent.add("FILTER_SLOT")
        reply = await stage.write(
            WHEEL, "FILTER_SLOT", {"FILTER_SLOT_VALUE": 2, "_timeout": 8}
        )
        assert failure(reply) == (
            "timeout: FILTER_SLOT: no answer of the driver after 8 s"
        )
        (event,) = stage.bus.events(WHEEL, "timeout")
        assert (event["vector"], event["seconds"]) == ("FILTER_SLOT", 3.0)
    async with observatory('connect: ["*"]\n    timeouts: {enable: false}') as stage:
        stage.simulator.silent.add("FILTER_SLOT")
        await stage.write(
            WHEEL, "FILTER_SLOT", {"FILTER_SLOT_VALUE": 2, "_timeout": 12}
        )
        assert not stage.bus.events(WHEEL, "timeout")


async def test_a_property_that_is_deleted_while_it_is_waited_for() -> None:
    async with observatory() as stage:
        stage.simulator.silent.add("FILTER_SLOT")
        wait = asyncio.ensure_future(
            stage.bus.set(WHEEL, "FILTER_SLOT", {"FILTER_SLOT_VALUE": 2})
        )
        await until(
            lambda: stage.simulator.received[-1].name == "FILTER_SLOT", "the set"
        )
        stage.simulator.drivers["Dome Simulator"].say("of another device")
        stage.simulator.send_raw(
            b'<message message="to all"/><delProperty device="Filter Simulator" '
            b'name="FILTER_SLOT"/>'
        )
        assert failure(await wait) == (
            "device: FILTER_SLOT: deleted by the driver: to all"
        )


REFUSED = [
    (MOUNT, "set/NOPE", {"x": 1}, "unknown: no property 'NOPE'"),
    (
        MOUNT,
        f"set/{COORDINATES}",
        {"RAX": 1},
        "bad_request: unknown key 'RAX'; allowed: RA, DEC",
    ),
    (
        MOUNT,
        f"set/{COORDINATES}",
        {"RA": 25},
        "out_of_range: RA: 25 is out of range; allowed: at least 0",
    ),
    (MOUNT, f"set/{COORDINATES}", {"RA": "x"}, "bad_request: RA: expected a number"),
    (
        MOUNT,
        "set/ON_COORD_SET",
        {"TRACK": True, "SLEW": True},
        "bad_request: ON_COORD_SET: exactly one of",
    ),
    (WEATHER, "set/WEATHER_PARAMETERS", {"WEATHER_TEMPERATURE": 1}, "read_only:"),
    (WEATHER, "call/goto", {}, "unknown: no command 'goto'"),
    (
        MOUNT,
        "call/goto",
        {"ra": "noon", "dec": 1},
        "bad_request: ra: 'noon' is no number",
    ),
    (
        MOUNT,
        "call/goto",
        {"ra": "5:99:00", "dec": 1},
        "out_of_range: ra: '5:99:00': minutes and seconds are below 60",
    ),
    (
        MOUNT,
        "call/goto",
        {"ra": "5h35m60s", "dec": 1},
        "out_of_range: ra: '5h35m60s'",
    ),
    (
        WHEEL,
        "call/filter",
        "Pink",
        "bad_request: no filter 'Pink'; there are: Red, Green",
    ),
    (FOCUSER, "call/focus", {}, "bad_request: either `position` or `steps`"),
    (DOME, "call/dome", {}, "bad_request: `azimuth` (degrees) or `shutter`"),
    (
        MOUNT,
        "call/send",
        {"element": "<x/>"},
        "bad_request: '<x/>' is not one whole new...Vector",
    ),
    (
        MOUNT,
        "call/send",
        {"element": '<getProperties device="D"/>'},
        "bad_request: the element is for 'D'",
    ),
    ("pi", "call/snapshot", {"device": "D"}, "unknown: the server has no device 'D'"),
    (
        "pi",
        "call/snapshot",
        {"vector": "CONNECTION"},
        "bad_request: `vector` needs `device`",
    ),
    (
        CAMERA,
        "call/get_properties",
        {"vector": "NOPE"},
        "unknown: CCD Simulator has no NOPE",
    ),
    (
        FOCUSER,
        "set/ABS_FOCUS_POSITION",
        {"FOCUS_ABSOLUTE_POSITION": 500000},
        "out_of_range: FOCUS_ABSOLUTE_POSITION",
    ),
    # What is wrong with a part of a command is found before its first part is sent.
    (
        MOUNT,
        "call/goto",
        {"ra": "25:00", "dec": 1, "then": "slew"},
        "out_of_range: ra: 25:00 is out of range; allowed: 0 to 24",
    ),
    (
        CAMERA,
        "call/expose",
        {"seconds": 0.001, "type": "dark"},
        "out_of_range: CCD_EXPOSURE_VALUE: 0.001",
    ),
    (
        CAMERA,
        "call/expose",
        {"seconds": 1, "type": "dark", "gain": 1},
        "unknown: CCD_Simulator has no CCD_GAIN",
    ),
    (
        FOCUSER,
        "call/focus",
        {"steps": 160000},
        "out_of_range: FOCUS_RELATIVE_POSITION: 160000",
    ),
    (
        DOME,
        "call/dome",
        {"azimuth": 400, "shutter": "open"},
        "out_of_range: DOME_ABSOLUTE_POSITION: 400",
    ),
    (MOUNT, "call/enable_blob", "also", "unknown: there is no BLOB of that name"),
]


async def test_what_is_refused_is_refused_at_once_and_nothing_is_sent() -> None:
    async with observatory() as stage:
        before = len(stage.simulator.received)
        for device, target, payload, said in REFUSED:
            kind, _, name = target.partition("/")
            ask = stage.bus.set if kind == "set" else stage.bus.call
            assert failure(await ask(device, name, payload)).startswith(said), (
                device,
                target,
            )
        assert len(stage.simulator.received) == before


# Commands.


async def test_commands_are_there_where_the_vectors_allow_them() -> None:
    async with observatory() as stage:
        compound = {
            "connect",
            "goto",
            "park",
            "unpark",
            "abort",
            "expose",
            "focus",
            "filter",
            "dome",
        }
        expected = {
            MOUNT: {"connect", "goto", "park", "unpark", "abort"},
            CAMERA: {"connect", "expose", "abort"},
            FOCUSER: {"connect", "focus", "abort"},
            WHEEL: {"connect", "filter"},
            WEATHER: {"connect"},
            DOME: {"connect", "dome", "park", "unpark", "abort"},
        }
        for device, commands in expected.items():
            assert stage.commands(device) & compound == commands, device
            assert {
                "snapshot",
                "get_properties",
                "enable_blob",
                "refresh",
                "reconnect",
            } <= stage.commands(device)
        assert stage.bus.retained(MOUNT, "info")["commands"]["abort"]["safe"]
        assert "goto" not in stage.commands("pi")


async def test_goto_tracks_slews_or_syncs_and_tells_how_far_it_is() -> None:
    async with observatory() as stage:
        reply = await stage.call(MOUNT, "goto", {"ra": "5:35:17", "dec": "-5:23"})
        assert reply["ok"], reply
        assert stage.vector(MOUNT, COORDINATES)["_text"] == {
            "RA": "5:35:17",
            "DEC": "-5:23:00",
        }
        # it tracks already
        assert "ON_COORD_SET" not in [new.name for new in stage.simulator.received]
        fractions = [each["fraction"] for each in stage.bus.events(MOUNT, "progress")]
        assert fractions == sorted(fractions) and len(fractions) > 3
        assert (await stage.call(MOUNT, "goto", {"ra": 5, "dec": 10, "then": "sync"}))[
            "ok"
        ]
        assert stage.vector(MOUNT, "ON_COORD_SET")["SYNC"]
        assert stage.vector(MOUNT, COORDINATES)["DEC"] == 10.0


async def test_goto_takes_the_coordinates_that_can_be_set() -> None:
    async with empty() as stage:
        coordinates = (DefMember("RA", "", "1"), DefMember("DEC", "", "2"))
        for name, perm in (("EQUATORIAL_EOD_COORD", "ro"), ("EQUATORIAL_COORD", "rw")):
            stage.simulator.send(DefVector("Number", "D", name, coordinates, perm=perm))
        stage.simulator.send(
            DefVector("Switch", "D", "ON_COORD_SET", (DefMember("TRACK", "", "On"),))
        )
        await stage.online("D", "ON_COORD_SET")
        reply = await stage.call("D", "goto", {"ra": 3, "dec": 4, "_timeout": 0.1})
        assert failure(reply).startswith("timeout: EQUATORIAL_COORD")  # nobody answers


async def test_abort_is_safe_and_ends_what_runs() -> None:
    async with observatory() as stage:
        going = asyncio.ensure_future(
            stage.bus.call(MOUNT, "goto", {"ra": 5, "dec": -60})
        )
        await until(
            lambda: stage.vector(MOUNT, COORDINATES)["_state"] == "Busy", "the motion"
        )
        assert (await stage.bus.call(MOUNT, "abort"))["result"] == [
            "TELESCOPE_ABORT_MOTION"
        ]
        assert failure(await going).startswith(
            "cancelled: EQUATORIAL_EOD_COORD: aborted"
        )


async def test_of_several_motions_all_are_aborted_even_if_the_first_is_not() -> None:
    async with empty() as stage:
        names = ["TELESCOPE_ABORT_MOTION", "DOME_ABORT_MOTION"]
        for name in names:
            stage.simulator.send(
                DefVector(
                    "Switch",
                    "D",
                    name,
                    (DefMember("ABORT", "", "Off"),),
                    rule="AtMostOne",
                )
            )
        await stage.online("D", names[1])
        said = failure(await stage.call("D", "abort"))
        assert said == (
            "timeout: TELESCOPE_ABORT_MOTION: no answer of the driver after 10 s"
        )
        assert [new.name for new in stage.simulator.received] == names


async def test_park_focus_filter_and_dome() -> None:
    async with observatory() as stage:
        for device, command, payload in [
            (MOUNT, "park", {}),
            (MOUNT, "unpark", {}),
            (FOCUSER, "focus", {"position": 45000}),
            (FOCUSER, "focus", {"steps": -1000}),
            (WHEEL, "filter", 4),
            (WHEEL, "filter", "Green"),
            (DOME, "dome", {"azimuth": 30, "shutter": "open"}),
            (DOME, "park", {}),
        ]:
            reply = await stage.call(device, command, payload)
            assert reply["ok"], (device, command, reply)
        assert (
            stage.vector(FOCUSER, "ABS_FOCUS_POSITION")["FOCUS_ABSOLUTE_POSITION"]
            == 44000.0
        )
        assert stage.vector(WHEEL, "FILTER_SLOT")["FILTER_SLOT_VALUE"] == 2.0
        assert stage.vector(DOME, "DOME_PARK")["PARK"]
        # a dome that parks closes its shutter
        assert stage.vector(DOME, "DOME_SHUTTER")["SHUTTER_CLOSE"]


async def test_disconnect_clears_what_disappears_and_connect_brings_it_back() -> None:
    async with observatory() as stage:
        assert COORDINATES in stage.properties(MOUNT)
        assert (await stage.call(MOUNT, "disconnect"))["ok"]
        assert "deleted by the driver" in await stage.bus.bad(
            MOUNT, COORDINATES, "offline"
        )
        await stage.bus.clock.advance(2)
        await until(lambda: COORDINATES not in stage.properties(MOUNT), "it has gone")
        topic = f"{stage.bus.base}/{MOUNT}/state/{COORDINATES}"
        await until(lambda: topic not in stage.bus.broker.retained, "its leaf, too")
        assert stage.bus.retained(MOUNT, "status")["state"] == "online"
        assert (await stage.call(MOUNT, "get_properties"))["ok"]
        # `connect` would have been sent before it
        assert (await stage.call(WHEEL, "filter", 2))["ok"]
        assert stage.vector(MOUNT, "CONNECTION")["DISCONNECT"]
        assert (await stage.call(MOUNT, "connect"))["ok"]
        await stage.online(MOUNT, COORDINATES)


async def test_get_properties_and_refresh_define_again() -> None:
    async with observatory() as stage:
        before = stage.simulator.asked
        for device, arguments in (
            ("pi", {}),
            ("pi", {"device": "CCD Simulator"}),
            (CAMERA, {}),
            (CAMERA, {"vector": "CONNECTION"}),
            ("pi", {"device": CAMERA, "vector": "CONNECTION"}),
        ):
            assert (await stage.call(device, "get_properties", arguments))["ok"]
        assert (await stage.call(CAMERA, "refresh"))["ok"]
        assert stage.simulator.asked == before + 6
        stage.simulator.mute = True
        reply = await stage.call(CAMERA, "get_properties")
        assert failure(reply) == "timeout: nothing was defined within 10 s"


# The link.


async def test_a_server_that_goes_is_noticed_and_comes_back_as_it_was() -> None:
    async with observatory() as stage:
        stage.simulator.unplug()
        for device in ("pi", MOUNT, CAMERA):
            await stage.bus.status(device, "offline")
        assert failure(await stage.bus.set(MOUNT, COORDINATES, {"RA": 1})).startswith(
            "offline"
        )
        stage.simulator.drivers.pop("Filter Simulator").close()
        del stage.simulator.drivers["Telescope Simulator"].vectors["TELESCOPE_PARK"]
        revision = stage.bus.retained(CAMERA, "info")["revision"]
        sent = len(stage.simulator.received)
        await stage.simulator.plug()
        for _ in range(40):
            await stage.bus.clock.advance(0.25)
            await asyncio.sleep(0.005)
        await stage.bus.status(CAMERA, "online")
        await until(lambda: not stage.bus.faults(CAMERA), "all good")
        # nothing flapped
        assert stage.bus.retained(CAMERA, "info")["revision"] == revision
        assert len(stage.simulator.received) == sent  # all are connected
        await stage.bus.clock.advance(3)
        await until(
            lambda: "TELESCOPE_PARK" not in stage.properties(MOUNT),
            "what has not come back",
        )
        assert stage.bus.retained(WHEEL, "status")["state"] == "offline"
        await stage.bus.clock.advance(35)
        await until(
            lambda: f"busbar/dome/{WHEEL}/status" not in stage.bus.broker.retained,
            "the end of it",
        )


async def test_a_driver_that_crashes_comes_back_connected_and_what_ran_fails() -> None:
    async with observatory() as stage:
        running = asyncio.ensure_future(
            stage.bus.call(FOCUSER, "focus", {"position": 0})
        )
        await until(
            lambda: stage.vector(FOCUSER, "ABS_FOCUS_POSITION")["_state"] == "Busy",
            "the motion",
        )
        stage.simulator.crash("Focuser Simulator")
        assert failure(await running).startswith(
            "link: Focuser Simulator: the driver is gone"
        )
        await stage.bus.status(FOCUSER, "offline")
        await stage.bus.clock.advance(2)
        stage.simulator.add(SimulatedFocuser(stage.simulator.send))
        await stage.bus.status(FOCUSER, "online")
        await stage.bus.value(FOCUSER, "CONNECTION", lambda value: value["CONNECT"])
        await stage.bus.value(
            FOCUSER,
            "ABS_FOCUS_POSITION",
            lambda value: value["FOCUS_ABSOLUTE_POSITION"] == 50000,
        )


async def test_a_driver_that_stays_away_is_cleared() -> None:
    async with observatory() as stage:
        stage.simulator.crash("Dome Simulator")
        await stage.bus.status(DOME, "offline")
        await stage.bus.clock.advance(GONE + 15)
        await until(
            lambda: (
                not [
                    topic for topic in stage.bus.broker.retained if f"/{DOME}/" in topic
                ]
            ),
            "its end",
        )
        assert failure(await stage.bus.call(DOME, "park")).startswith("unknown")


async def test_a_server_that_answers_pings_no_more_is_gone() -> None:
    async with observatory() as stage:
        await stage.bus.value("pi", "rtt", lambda rtt: rtt is not None)
        stage.simulator.mute = True
        for driver in stage.simulator.drivers.values():
            driver.close()
        await stage.bus.clock.advance(45)
        await until(lambda: "offline" in stage.statuses("pi"), "its end")
        assert "does not answer pings any more" in stage.reasons("pi")


async def test_a_server_that_knows_no_pings_is_trusted() -> None:
    async with empty() as stage:
        stage.simulator.pings = False
        asked = stage.simulator.asked
        assert (await stage.call("pi", "reconnect"))["ok"]
        await until(lambda: stage.simulator.asked > asked, "the new link")
        offline = stage.statuses("pi").count("offline")
        await stage.bus.clock.advance(3 * SILENCE)
        await stage.bus.value("pi", "rtt", lambda rtt: rtt is None)
        assert stage.statuses("pi").count("offline") == offline


async def test_send_is_done_when_the_server_has_read_it() -> None:
    async with observatory() as stage:
        await stage.bus.value("pi", "rtt", lambda rtt: rtt is not None)
        element = {
            "element": ('<enableBLOB device="Focuser Simulator">Never</enableBLOB>')
        }
        assert (await stage.call(FOCUSER, "send", element))["took"] < ARRIVAL
        stage.simulator.mute = True
        assert (await stage.call(FOCUSER, "send", element))["took"] >= ARRIVAL


async def test_a_number_that_is_none_is_null_and_bad() -> None:
    async with observatory() as stage:
        stage.simulator.drivers["Weather Simulator"].show(
            "WEATHER_PARAMETERS", "Ok", WEATHER_WIND_SPEED="calm"
        )
        assert "no number" in await stage.bus.bad(
            WEATHER, "WEATHER_PARAMETERS", "not_a_number"
        )
        stage.simulator.drivers["Weather Simulator"].show(
            "WEATHER_PARAMETERS", "Ok", WEATHER_WIND_SPEED="3"
        )
        await stage.bus.value(
            WEATHER,
            "WEATHER_PARAMETERS",
            lambda value: value["WEATHER_WIND_SPEED"] == 3.0,
        )


async def test_a_device_that_has_the_name_of_another_is_not_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with empty() as stage:
        stage.simulator.send(DefVector("Text", "bridge", "V", (DefMember("A"),)))
        stage.simulator.send(
            DefVector("Text", "other", "V", (DefMember("A", "", "x"),))
        )
        await stage.online("other", "V")
        assert (
            "bridge is not served: there is a device 'bridge' on this bridge already"
        ) in caplog.text
