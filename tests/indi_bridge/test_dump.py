"""The snapshot is that of indipyclient 0.9.4, key by key and value by value, taken of
the same server."""

import asyncio
from typing import Any

import indipyclient

from busbar.codecs.indi import SetVector
from busbar.testing.fakes import until
from tests.indi_bridge.stage import FOCUSER, observatory

# it stamps an undated element when it reads it
NEVER_THE_SAME = {"timestamp", "message_timestamp", "indihost"}


class Silent(indipyclient.IPyClient):
    """It says nothing to the log and keeps nothing of its own."""

    enable_reports = False

    async def rxevent(self, event: Any) -> None:
        """Only the state counts."""


async def theirs(port: int, vectors: int, **options: bool) -> dict[str, Any]:
    """Return what indipyclient dumps of a server with so many vectors."""
    client = Silent("127.0.0.1", port)
    running = asyncio.ensure_future(client.asyncrun())
    await until(lambda: sum(map(len, client.values())) >= vectors, "its definitions")
    dump = client.snapshot().dictdump(**options)
    client.shutdown()
    await running
    return dict(dump)


def plain(dump: Any) -> Any:
    """Return a dump without what cannot be the same."""
    if isinstance(dump, dict):
        return {
            key: plain(value)
            for key, value in dump.items()
            if key not in NEVER_THE_SAME
        }
    return dump


async def test_it_is_what_indipyclient_dumps() -> None:
    async with observatory() as stage:
        for driver in stage.simulator.drivers.values():
            driver.close()  # nothing changes between the two
        await stage.write(FOCUSER, "FOCUS_MOTION", {"FOCUS_OUTWARD": True})
        ours = (await stage.call("pi", "snapshot"))["result"]
        dump = await theirs(stage.simulator.port, stage.bus.good("pi")["vectors"])
        assert plain(ours)["devices"].keys() == plain(dump)["devices"].keys()
        for name, device in dump["devices"].items():
            mine = ours["devices"][name]
            assert mine.keys() == device.keys()
            for vector in device["vectors"]:
                expected = device["vectors"][vector]
                found = mine["vectors"][vector]
                assert list(found) == list(expected), (name, vector)
                assert plain(found) == plain(expected), (name, vector)
        assert list(ours) == list(dump)
        assert (ours["indiport"], ours["connected"]) == (stage.simulator.port, True)


async def test_user_strings_are_there_when_asked_for() -> None:
    async with observatory() as stage:
        ours = (await stage.call("pi", "snapshot", {"inc_user_string": True}))["result"]
        dump = await theirs(
            stage.simulator.port, stage.bus.good("pi")["vectors"], inc_user_string=True
        )
        assert list(ours) == list(dump)
        device = dump["devices"]["CCD Simulator"]
        mine = ours["devices"]["CCD Simulator"]
        assert list(mine) == list(device)
        for name, vector in device["vectors"].items():
            assert list(mine["vectors"][name]) == list(vector)
            for member, each in vector["members"].items():
                found = mine["vectors"][name]["members"][member]
                assert list(found) == list(each)
                assert found["user_string"] == ""


async def test_parts_of_it() -> None:
    async with observatory() as stage:
        whole = (await stage.call("pi", "snapshot"))["result"]
        for device, arguments in (
            ("pi", {"device": "Focuser Simulator"}),
            ("pi", {"device": FOCUSER}),
            (FOCUSER, {}),
        ):
            part = (await stage.call(device, "snapshot", arguments))["result"]
            assert plain(part["vectors"]) == plain(
                whole["devices"]["Focuser Simulator"]["vectors"]
            )
        reply = await stage.call(FOCUSER, "snapshot", {"vector": "FOCUS_MOTION"})
        vector = reply["result"]
        assert vector["vectortype"] == "SwitchVector"
        reply = await stage.call(FOCUSER, "snapshot", {"vector": "NOPE"})
        assert reply["error"]["code"] == "unknown"


async def test_a_message_keeps_its_own_time() -> None:
    async with observatory() as stage:
        for hour, message in (("10", "said once"), ("11", "")):
            time = f"2026-11-20T{hour}:00:00"
            stage.simulator.send(
                SetVector(
                    "Switch",
                    "Focuser Simulator",
                    "FOCUS_MOTION",
                    {},
                    "Ok",
                    None,
                    time,
                    message,
                )
            )
        await stage.bus.value(
            FOCUSER, "FOCUS_MOTION", lambda value: value["_time"] == 1795172400.0
        )
        reply = await stage.call(FOCUSER, "snapshot", {"vector": "FOCUS_MOTION"})
        vector = reply["result"]
        assert vector["message"] == "said once"
        assert vector["message_timestamp"] == "2026-11-20T10:00:00+00:00"
        assert vector["timestamp"] == "2026-11-20T11:00:00+00:00"
