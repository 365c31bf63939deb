"""The README: its table cell by cell on a real broker, its keys and commands."""

import ast
import asyncio
import inspect
import os
import shlex
import sys
from pathlib import Path

import pytest

from busbar.client import Client
from busbar.contract.describe import commands
from scpi_bridge.commands import InstrumentCommands
from scpi_bridge.settings import Device, Property
from tests.examples.programs import bench
from tests.tables import codes
from tests.watcher import Watcher

TEXT = (Path(__file__).parents[2] / "services/scpi-bridge/README.md").read_text()
ROWS = codes(TEXT.partition("## From comsrv")[2])
RESULTS = {"query": "BUSBAR,PSU-SIM", "write": "None", "query_binary": "400"}
BASE = "busbar/bench/psu/"


async def by_mqtt(broker, target, payload):
    async with Watcher(broker.port) as watcher:
        return (await watcher.call(BASE + target, payload))["result"]


async def by_command_line(broker, line):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *shlex.split(line)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "BUSBAR_URL": broker.url},
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().removesuffix("\n") or None


async def by_python(broker, code):
    async with Client(broker.url) as bus:
        psu = bus.device("bench/psu")
        await psu.wait_online(20)
        found = eval(
            compile(code, "README", "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT),
            {"psu": psu},
        )
        return await found if inspect.isawaitable(found) else found


@pytest.mark.parametrize(
    ("call", "topic", "line", "code"), ROWS, ids=[row[0][0] for row in ROWS]
)
async def test_every_cell_of_the_table_does_what_it_says(
    call, topic, line, code, tmp_path
):
    async with bench(tmp_path) as running:
        for way, given in (
            (by_mqtt, topic),
            (by_command_line, line),
            (by_python, code),
        ):
            running.psu.output = False
            assert RESULTS[call[0].partition("(")[0]] in str(
                await way(running.broker, *given)
            )
            assert running.psu.output is call[0].startswith("write")


def test_every_key_and_command_is_in_the_readme():
    keys = {
        name.rstrip("_")
        for each in (Device, Property)
        for name in each.__struct_fields__
    }
    for name in (*keys, *commands(InstrumentCommands)):
        assert f"`{name}`" in TEXT, name
