"""Panels that nobody here wrote, as clients of our processor.

python-cipclient 0.0.2 and crestron-cip 1.0.2.
"""

import asyncio
import json
import socket
import time
from contextlib import asynccontextmanager

import pytest
from cipclient import CIPSocketClient

from busbar.testing.fakes import until
from cip_bridge.bridge import SERVICE
from cip_bridge.simulator.theatre import FULL, LIGHT_LEVEL, STEP, VOLUME, VOLUME_UP
from tests import npm
from tests.broker import find, free_port
from tests.cip_bridge.theatre import hurried, theatre
from tests.running import running

STAGE = """
bridge: {{name: stage}}
devices:
  - name: xpanel
    address: "cip::{host}:{port}"
    ipid: 0x41
    mode: processor
    result: {result}
"""


@asynccontextmanager
async def stage(host, port, result):
    async with running(
        SERVICE, STAGE.format(host=host, port=port, result=result)
    ) as bus:
        await bus.status("xpanel", "online")
        await bus.set(
            "xpanel",
            "",
            {
                "digital/1": True,
                "digital/300": True,
                "analog/12": 32456,
                "serial/3": "hello",
            },
        )
        yield bus


@asynccontextmanager
async def cipclient(port):
    """python-cipclient, signed on."""
    client = CIPSocketClient("127.0.0.1", 0x41, port)
    client.start()
    try:
        await until(lambda: client.connected, "the end of the query")
        yield client
    finally:
        await asyncio.to_thread(client.stop)


async def test_python_cipclient_signs_on_and_gets_what_was_set():
    port = free_port()
    async with stage("127.0.0.1", port, "001f") as bus, cipclient(port) as client:
        await bus.value("xpanel", "_panels", len)
        for kind, join, value in (
            ("d", 1, 1),
            ("d", 300, 1),
            ("a", 12, 32456),
            ("s", 3, "hello"),
        ):
            await until(
                lambda k=kind, j=join, v=value: client.get(k, j) == v, f"{kind} {join}"
            )
        heard = []
        client.subscribe("a", 5, lambda *change: heard.append(change))
        await bus.set("xpanel", "analog/5", 77)
        await until(lambda: heard == [("a", 5, 77)])


async def test_python_cipclient_drives_the_state_and_its_buttons():
    port = free_port()
    async with stage("127.0.0.1", port, "001f") as bus, cipclient(port) as client:
        client.set("d", 7, 1)
        client.set("a", 8, 65535)
        client.set("s", 9, "text")
        assert await bus.value("xpanel", "digital/7") is True
        assert await bus.value("xpanel", "analog/8") == 65535
        assert await bus.value("xpanel", "serial/9") == "text"
        client.press(10)
        assert await bus.value("xpanel", "digital/10") is True
        held = time.monotonic()
        # longer than a button lasts without being repeated
        await until(lambda: time.monotonic() - held > 2.0)
        assert bus.good("xpanel")["digital/10"] is True
        client.release(10)
        assert await bus.value("xpanel", "digital/10", lambda on: not on) is False
        client.pulse(11)
        await until(lambda: bus.good("xpanel").get("digital/11") is False)
        told = [
            change["value"]
            for change in bus.changes("xpanel")
            if change["path"] == "digital/11"
        ]
        assert told == [True, False]
        client.update_request()
        assert (await bus.set("xpanel", "analog/5", 6))["ok"]
        await until(lambda: client.get("a", 5) == 6)


PROGRAM = """
const cip = require("crestron-cip");
const panel = cip.connect({ host: process.argv[2], ipid: "\\x41" }, () => {});
panel.subscribe((data) => {
  console.log(JSON.stringify(data));
  if (data.type === "digital" && data.join === 2) {
    panel.dset(7, 1);
    panel.aset(8, 65535);
    panel.pulse(9);
    panel.dset(10, 1);
    panel.dset(10, 0);
  }
});
"""
# crestron-cip knows one port only, which this machine may use: so an address of our own
HOST = "127.41.79.4"
PORT = 41794


@pytest.fixture
def program(tmp_path):
    """A program with crestron-cip, as a command."""
    npm.link("crestron-cip", tmp_path)
    file = tmp_path / "panel.js"
    file.write_text(PROGRAM)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # else somebody runs this test already: say so, not a timeout
        probe.bind((HOST, PORT))
    return [find("node"), str(file), HOST]


@asynccontextmanager
async def node(command):
    """Run it; the data it has printed so far."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE
    )
    said = []

    async def read():
        while line := await process.stdout.readline():
            if line.startswith(b"{"):
                said.append(json.loads(line))

    reading = asyncio.create_task(read())
    try:
        yield said
    finally:
        process.kill()
        await process.wait()
        await reading


async def test_crestron_cip_signs_on_is_driven_and_drives(program):
    async with stage(HOST, PORT, "200f") as bus, node(program) as said:
        await bus.value("xpanel", "_panels", len)
        await until(lambda: len(said) == 3, "what was set before")
        assert {(each["type"], each["join"], each["value"]) for each in said} == {
            ("digital", 1, 1), ("digital", 300, 1), ("analog", 12, 32456),
        }  # fmt: skip
        await bus.set("xpanel", "digital/2", True)
        assert await bus.value("xpanel", "digital/7") is True
        assert await bus.value("xpanel", "analog/8") == 65535
        assert await bus.value("xpanel", "digital/10") is False
        # Its pulse releases first and presses then: the button is released when it is
        # not repeated.
        await until(lambda: bus.good("xpanel").get("digital/9") is True)
        await bus.clock.advance(2)
        assert await bus.value("xpanel", "digital/9", lambda on: not on) is False
        skipped = await bus.value("xpanel", "_skipped", int)
        assert skipped >= 1  # three stray bytes behind its sign-on


async def test_python_cipclient_and_our_panel_are_two_panels_of_one_ip_id():
    async with theatre() as (bus, simulator):
        client = CIPSocketClient("127.0.0.1", 0x0A, simulator.listener.port)
        client.start()
        try:
            await until(lambda: client.connected, "the end of the query")
            await bus.set("panel", "lights/level", 50)
            await until(lambda: client.get("a", LIGHT_LEVEL) == 32768)
            client.set("a", LIGHT_LEVEL, 13107)
            assert await bus.value("panel", "lights/level", lambda at: at < 50) == 20
            # a refresh reads: the lights stay
            assert (await bus.call("panel", "refresh"))["ok"]
            pulses = [
                asyncio.create_task(bus.call("panel", "pulse", VOLUME_UP))
                for _ in range(3)
            ]
            for each in pulses:
                assert (await hurried(bus, each))["ok"]
            expected = FULL // 2 + 3 * STEP
            await until(lambda: client.get("a", VOLUME) == expected)
            for _ in range(3):
                client.pulse(VOLUME_UP)
            await until(
                lambda: bus.good("panel")[f"analog/{VOLUME}"] == expected + 3 * STEP
            )
            assert simulator.theatre.value("analog", LIGHT_LEVEL) == 13107
        finally:
            await asyncio.to_thread(client.stop)
