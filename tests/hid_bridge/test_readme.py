"""The README: each row of its table is run, its keys and commands are there."""

import ast
import asyncio
import inspect
import json
import re
from pathlib import Path

import pytest

from busbar.client import Client
from busbar.config import loader
from busbar.contract.describe import commands
from busbar.runtime.service import plan
from busbar.testing.fakes import until
from hid_bridge import settings
from hid_bridge.bridge import SERVICE
from hid_bridge.commands import DeviceCommands
from hid_bridge.simulator import devices
from tests.hid_bridge.stage import PANEL, stage
from tests.hid_bridge.subject import hid_bridge
from tests.tables import codes

ROOT = Path(__file__).parents[2] / "services/hid-bridge"
TEXT = (ROOT / "README.md").read_text()
ROWS = codes(TEXT.partition("## From comsrv")[2])


def fits(call, result):
    """Say whether a result is what comsrv's call was to give."""
    if "write" in call or "read" in call:
        return result is None  # of a read: silence
    if "get_info" in call:
        return (result["vendor"], result["product"]) == ("1209", "0002")
    return "hid::1209:0002" in result[0]["address"]


@pytest.mark.parametrize(
    ("call", "topic", "code"), ROWS, ids=[row[0][0] for row in ROWS]
)
async def test_every_row_of_the_table_does_what_it_says_by_mqtt(call, topic, code):
    panel = devices.panel()
    async with stage(PANEL % "", panel, online="panel") as there:
        command, second = topic[0].partition("/")[2], topic[1]
        device, payload = "panel", second
        if not second.startswith("{"):
            device, payload = second.partition("/")[2], "{}"
        reply = await there.bus.call(device, command, payload)
        assert reply["ok"], reply
        assert fits(call[0], reply["result"])
        if "write" in call[0]:
            await until(lambda: list(panel.written) == [b"\x04\x03"], "the report")


async def by_python(url, code):
    async with Client(url) as bus:
        panel = bus.device("counter/panel")
        await panel.wait_online(20)
        compiled = compile(code, "README", "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        found = eval(compiled, {"panel": panel, "bus": bus})
        return await found if inspect.isawaitable(found) else found


@pytest.mark.parametrize(
    ("call", "topic", "code"), ROWS, ids=[row[0][0] for row in ROWS]
)
async def test_every_row_of_the_table_does_what_it_says_in_python(
    call, topic, code, tmp_path
):
    from tests.broker import Mosquitto

    with Mosquitto() as broker:
        async with hid_bridge(broker.url, "5", tmp_path) as subject:
            await subject.start()
            async with asyncio.timeout(60):
                result = await by_python(broker.url, code[0])
    if "enumerate" in call[0]:
        result = [{"address": str(result)}]
    assert fits(call[0], result)


def test_the_table_has_every_call():
    shown = json.dumps(ROWS)
    for call in (".write(", ".read(", ".get_info(", "enumerate_hid_devices("):
        assert call in shown


def test_every_key_and_command_is_in_the_readme():
    for each in (settings.Device, settings.Field, settings.Keyboard):
        for key in each.__struct_fields__:
            assert f"`{key.rstrip('_')}`" in TEXT or f"`{key}:" in TEXT, key
    for name in commands(DeviceCommands):
        assert f"`{name}`" in TEXT, name


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
def test_every_configuration_in_the_readme_is_taken(block):
    plan(SERVICE, loader.parse(block, settings.Config, {}), None, {})


def test_the_example_is_taken():
    path = ROOT / "src/hid_bridge/example.yaml"
    plan(SERVICE, loader.load(path, settings.Config, {}), None, {})
