"""The README.

Every configuration is taken, every key is there, every row of the tables does what it
says.
"""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import indipyclient
import pytest
from indipyclient.queclient import QueClient

from busbar.codecs.indi import format_time
from busbar.config import loader
from busbar.runtime.service import plan
from busbar.testing.fakes import until
from indi_bridge.bridge import PROPERTIES, SERVICE
from indi_bridge.session import DEVICE_COMMANDS
from indi_bridge.settings import Blobs, Config, Server
from tests.indi_bridge.stage import CONFIG, FOCUSER, Stage, observatory
from tests.tables import codes

README = Path(__file__).parents[2] / "services/indi-bridge/README.md"
TEXT = README.read_text()
EXAMPLE = README.parent / "src/indi_bridge/example.yaml"
FROM = TEXT.partition("## From indipyclient")[2]
ROWS = [row[:2] for row in codes(FROM)]
OF_DICT = {"data"}  # of collections.UserDict


def test_every_member_of_indipyclient_is_in_the_tables() -> None:
    client = indipyclient.IPyClient()
    public = {
        name
        for name in {*vars(indipyclient.IPyClient), *vars(client)}
        if not name.startswith("_")
    } - OF_DICT
    assert {name for row in ROWS for name in row[0]} >= public
    own = {name for name in vars(QueClient) if not name.startswith("_")}
    assert own == {"rxevent", "hardware"}  # it adds queues: the second table


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
def test_every_configuration_in_the_readme_is_taken(block: str) -> None:
    plan(SERVICE, loader.parse(block, Config, {}), None, {})


def test_the_example_is_taken() -> None:
    assert (
        plan(SERVICE, loader.load(EXAMPLE, Config, {"INDI_PORT": "7625"}), None, {})
        .links[0]
        .address
        == "indi::127.0.0.1:7625"
    )


def test_every_key_command_and_property_is_in_the_readme() -> None:
    for name in [
        *Server.__struct_fields__,
        *Blobs.__struct_fields__,
        *DEVICE_COMMANDS,
        *PROPERTIES,
    ]:
        assert f"`{name}`" in TEXT or f"/{name}`" in TEXT, name


async def check(
    stage: Stage, device: str, channel: str, path: str, payload: str | None
) -> Any:
    """Do what a cell says; return the result, or what is on the topic."""
    bus, device = stage.bus, device.replace("mount-pi", "pi")
    topic = f"{bus.base}/{device}/{channel}" + (f"/{path}" if path else "")
    if channel == "call":
        reply = await stage.call(
            device, path, payload.replace("mount-pi", "pi") if payload else "{}"
        )
        assert reply["ok"], (topic, reply)
        return reply.get("result")
    if channel == "set":
        reply = await stage.write(device, path, payload or "")
        assert reply["ok"], (topic, reply)
        return reply["result"]
    if channel == "event" and path == "log":
        stage.simulator.drop()
    await until(lambda: bus.broker.payloads(topic), topic)
    return json.loads(bus.broker.payloads(topic)[-1])


def effect(stage: Stage, members: list[str], result: Any) -> None:
    """Check what a member is for, where there is more to see than a success."""
    match members[0]:
        case "send_newVector":
            assert stage.simulator.received[-1].timestamp == format_time(1763640000)
            assert result["FOCUS_ABSOLUTE_POSITION"] == 51000.0
        case "snapshot":
            assert list(result) == [
                "indihost",
                "indiport",
                "connected",
                "messages",
                "devices",
            ]
        case "get_vector_state":
            assert result["_state"] in ("Idle", "Ok")
        case "enabledlen":
            assert result == 9
        case "connected" | "stopped" | "stop" | "runqueclient":
            assert result["state"] == "online"
        case "messages":
            assert isinstance(result, list)
        case "rxevent" | "rxque":
            assert result["changes"]
        case "report":
            assert result["level"] == "WARNING" or result["level"] == "warning"
        case "set_user_string":
            assert result["user_string"] == ""
        case "indihost":
            assert result["address"] == stage.simulator.address
        case "send_enableBLOB" | "resend_enableBLOB":
            assert result == ["CCD Simulator.CCD1"]
        case "hardware":
            assert {"CCD_Simulator", "pi", "bridge"} <= {
                row["device"] for row in result
            }
        case "idle_timer":
            assert result is None or result >= 0


async def test_every_row_of_the_tables_does_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    async with observatory() as stage:
        for members, (cell, *payload) in ROWS:
            if cell.startswith(("blobs:", "timeouts:")):
                text = CONFIG.format(address="indi::127.0.0.1", more=cell)
                assert plan(
                    SERVICE, loader.parse(text, Config, {}, folder=tmp_path), None, {}
                ).links
                continue
            device, channel, path = [*cell.split("/", 2), ""][:3]
            try:
                effect(
                    stage,
                    members,
                    await check(
                        stage, device, channel, path, payload[0] if payload else None
                    ),
                )
            except Exception as error:
                raise AssertionError(
                    f"{members}: {cell} {payload}: {error!r}"
                ) from error
            if path in ("disconnect", "log"):
                await again(stage, closed=path == "disconnect")


async def again(stage: Stage, *, closed: bool) -> None:
    """Bring the link back."""
    if closed:
        for device in ("pi", FOCUSER):
            await stage.bus.status(device, "offline")
        await stage.bus.call("pi", "connect")
    for _ in range(20):
        await stage.bus.clock.advance(0.25)
        await asyncio.sleep(0.005)
    for device in ("pi", FOCUSER):
        await stage.bus.status(device, "online")
    await until(lambda: not stage.bus.faults(FOCUSER), "all defined")
