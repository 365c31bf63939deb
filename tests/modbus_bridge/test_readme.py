"""The README.

Its table cell by cell on a real broker, its configurations, its keys and commands.
"""

import ast
import asyncio
import inspect
import os
import re
import shlex
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from busbar.client import Client
from busbar.codecs.modbus import Ddp, Read, WriteCoils, WriteRegisters
from busbar.config import loader
from busbar.contract.describe import commands
from busbar.runtime.bridge import Bridge
from busbar.runtime.service import plan
from busbar.testing.fakes import until
from modbus_bridge.address import place
from modbus_bridge.bridge import SERVICE
from modbus_bridge.commands import UnitCommands
from modbus_bridge.session import Counts
from modbus_bridge.settings import Channel, Config, Device, Property, Serve
from modbus_bridge.simulator.__main__ import Simulator
from tests.broker import Mosquitto
from tests.tables import codes
from tests.watcher import Watcher

README = Path(__file__).parents[2] / "services/modbus-bridge/README.md"
TEXT = README.read_text()
ROWS = codes(TEXT.partition("## From comsrv")[2])
BASE = "busbar/plant/meter/"
PLANT = "bridge: {{name: plant}}\ndevices: [{{name: meter, address: '{address}::17'}}]"
# What the unit is asked for, and what the caller gets. comsrv: python/comsrv/modbus.py,
# docs/protocols/modbus.md, 10.
EXPECTED = {
    "read_holding": (Read("holding", 300, 2), [7, 8]),
    "read_input": (Read("input", 2, 1), [2300]),
    # ten, not two: docs/protocols/modbus.md, 10
    "read_coil": (Read("coil", 3, 10), [True] + [False] * 9),
    "read_discrete": (Read("discrete", 0, 4), [False, True, False, False]),
    "write_registers": (WriteRegisters(40, b"\0\x01\0\x02"), None),
    "write_coils": (WriteCoils(3, (True, False)), None),
    "ddp": (Ddp(5, 5, b"\x0a"), "0a"),
    "send_custom_command": (Read("holding", 300, 2), "030400070008"),
}


@asynccontextmanager
async def stage():
    async with Simulator() as simulator:
        meter = simulator.plant.meter
        meter.put("holding", 300, 7)
        meter.put("holding", 301, 8)
        meter.put("input", 2, 2300)
        meter.bits["coil"][3] = meter.bits["discrete"][1] = True
        with Mosquitto() as broker:
            first = plan(
                SERVICE,
                loader.parse(PLANT.format(address=simulator.address), Config, {}),
                broker.url,
                {},
            )
            bridge = Bridge(first, lambda: first)
            task = asyncio.create_task(bridge.run())
            try:
                async with Watcher(broker.port) as watcher, Client(broker.url) as bus:
                    device = bus.device("plant/meter")
                    await device.wait_online(20)
                    yield meter, broker, watcher, device
            finally:
                bridge.stop()
                await task


async def by_mqtt(watcher, target, payload):
    before = len(watcher.on(f"{BASE}reply"))
    watcher.publish(BASE + target, payload)
    await until(
        lambda: len(watcher.on(f"{BASE}reply")) > before, f"the outcome of {target}"
    )
    reply = watcher.on(f"{BASE}reply")[-1].json
    assert reply["ok"], reply
    return reply["result"]


async def by_command_line(broker, line):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *shlex.split(line)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "BUSBAR_URL": broker.url},
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode().strip()


async def by_python(device, code):
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    found = eval(compile(code, "README", "eval", flags), {"meter": device})
    return await found if inspect.isawaitable(found) else found


async def test_every_cell_of_the_table_does_what_it_says():
    async with stage() as (meter, broker, watcher, device):
        for number, ((call,), topic, (line,), (code,)) in enumerate(ROWS):
            request, result = EXPECTED[call.partition("(")[0]]
            ways = (
                partial(by_mqtt, watcher, *topic),
                partial(by_command_line, broker, line),
                partial(by_python, device, code),
            )
            for way, run in enumerate(ways, 1):
                meter.requests.clear()
                got = await run()
                assert list(meter.requests) == [request], (call, meter.requests)
                if isinstance(got, str) and not isinstance(result, str):
                    shown = "" if result is None else result
                    assert re.findall(r"\w+", got.lower()) == re.findall(
                        r"\w+", str(shown).lower()
                    ), (call, got)
                else:
                    assert got == result, (call, got)
                # all outcomes so far: the next one is that of the next call
                replies = 3 * number + way
                await until(
                    lambda n=replies: len(watcher.on(f"{BASE}reply")) == n,
                    "the outcome",
                )


def test_every_call_of_comsrv_is_in_the_table():
    assert {row[0][0].partition("(")[0] for row in ROWS} == set(EXPECTED)
    assert all(len(row) == 4 and all(row) for row in ROWS)


@pytest.mark.parametrize("address", sorted(set(re.findall(r"`(modbus::[^`]+)`", TEXT))))
def test_every_address_in_the_readme_is_taken(address):
    assert place(address)


@pytest.mark.parametrize(
    "block", re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL), ids=["line", "serve"]
)
def test_every_configuration_in_the_readme_is_taken(block):
    plan(SERVICE, loader.parse(block, Config, {}), None, {})


def test_every_key_command_and_counter_is_in_the_readme():
    keys = {
        name.rstrip("_")
        for each in (Channel, Device, Property)
        for name in each.__struct_fields__
    }
    arguments = {
        name
        for each in commands(UnitCommands).values()
        for name in each.arguments.__struct_fields__
    }
    for name in [*keys, *commands(UnitCommands), *arguments, *Counts.__struct_fields__]:
        assert f"`{name}`" in TEXT, name
    assert all(f"{name}:" in TEXT for name in Serve.__struct_fields__)


async def test_the_simulator_says_in_one_line_that_its_port_is_taken():
    async with Simulator() as simulator:
        port = simulator.address.rpartition(":")[2]
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "modbus_bridge.simulator.__main__",
                "--modbus-port",
                port,
            ),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
    assert process.returncode == 1
    assert re.fullmatch(
        (
            rf"simulator: cannot listen on "
            rf"127\.0\.0\.1:{port}: .*\n"
        ),
        said.decode(),
    )


def test_the_example_is_the_simulated_plant():
    example = README.parent / "src/modbus_bridge/example.yaml"
    found = loader.load(example, Config, {})
    assert {device.unit for device in found.devices} == {17, 18, 19}
