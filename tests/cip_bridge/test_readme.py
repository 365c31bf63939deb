"""The table of the README, cell by cell: MQTT, command line, asyncio and blocking, on a real broker."""

import ast
import asyncio
import inspect
import json
import os
import re
import shlex
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from busbar import config
from busbar.bridge import Bridge
from busbar.client import Client, blocking
from busbar.codecs.cip import Join
from busbar.service import plan
from busbar.testing import until
from cip_bridge.bridge import SERVICE
from cip_bridge.settings import Config
from cip_bridge.simulator import Simulator
from tests.broker import Mosquitto
from tests.watcher import Watcher

README = Path(__file__).parents[2] / "services/cip-bridge/README.md"
TEXT = README.read_text()
ROWS = [
    [re.findall("`([^`]+)`", cell) for cell in line.strip("|\n ").split(" | ")]
    for line in TEXT.partition("## From python-cipclient")[2].splitlines()
    if line.startswith("| `")
]
BASE = "busbar/theatre/panel/"
THEATRE = "bridge: {{name: theatre}}\ndevices: [{{name: panel, address: '{address}', ipid: 0x0A}}]"
ALL = ["stop", "start", "connected", "set", "press", "release", "pulse", "get", "join", "subscribe", "update_request"]


class Stage:
    """Everything that a row may touch."""

    def __init__(self, simulator, broker, watcher, bus, bridge):
        self.simulator, self.broker, self.watcher, self.bus, self.bridge = simulator, broker, watcher, bus, bridge
        self.panel = bus.device("theatre/panel")
        self.changes = []

    def seen(self, kind, number):
        return [value for join, value in self.simulator.theatre.seen if join == Join(kind, number)]

    def status(self):
        return self.watcher.on(f"{BASE}status")[-1].json["state"]

    async def mqtt(self, target, payload=None):
        """Publish a command and return its outcome, or what came on a topic."""
        if payload is None:
            await until(lambda: self.watcher.on(BASE + target), target)
            return self.watcher.on(BASE + target)[-1].json
        before = len(self.watcher.on(f"{BASE}reply"))
        self.watcher.publish(BASE + target, payload)
        await until(lambda: len(self.watcher.on(f"{BASE}reply")) > before, f"the outcome of {target}")
        reply = self.watcher.on(f"{BASE}reply")[-1].json
        assert reply["ok"], reply
        return reply["result"]

    async def shell(self, command):
        """Run the command line; it prints what is asked for."""
        program, *arguments = shlex.split(command)
        assert program == "busbar"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "busbar", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "BUSBAR_URL": self.broker.url},
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        return out.decode().strip()

    async def asyncio(self, code):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        found = eval(compile(code, "README", "eval", flags), {"panel": self.panel, "f": self.changes.append})
        return await found if inspect.isawaitable(found) else found

    async def blocking(self, code):
        def run():
            with blocking.Client(self.broker.url) as bus:
                panel = bus.device("theatre/panel")
                if "connect" not in code:
                    panel.wait_online(20)
                found = eval(code, {"panel": panel, "f": self.changes.append})
                if callable(found):
                    assert wait(lambda: self.changes)
                return found

        return await asyncio.to_thread(run)


def wait(condition):
    """Wait as a thread does."""
    import threading

    ticking = threading.Event()
    return any(condition() or ticking.wait(0.01) for _ in range(2000))


@asynccontextmanager
async def stage():
    async with Simulator() as simulator:
        with Mosquitto() as broker:
            text = THEATRE.format(address=simulator.address)
            first = plan(SERVICE, config.parse(text, Config, {}), broker.url, {})
            bridge = Bridge(first, lambda: first)
            task = asyncio.create_task(bridge.run())
            try:
                async with Watcher(broker.port) as watcher, Client(broker.url) as bus:
                    made = Stage(simulator, broker, watcher, bus, bridge)
                    await made.panel.wait_online(20)
                    await until(lambda: watcher.on(f"{BASE}state/digital/21"), "the values")
                    yield made
            finally:
                bridge.stop()
                await task


async def check(stage, method, result):
    """See that a row has done what python-cipclient would have done."""
    match method:
        case "stop()":
            await until(lambda: stage.status() == "offline")
        case "start()" | "connected":
            await until(lambda: stage.status() == "online")
        case 'set("d", 51, 1)':
            await until(lambda: stage.seen("digital", 51) == [True])
        case 'set("a", 52, 32456)':
            await until(lambda: stage.seen("analog", 52) == [32456])
        case 'set("s", 53, "Hello")':
            await until(lambda: stage.seen("serial", 53) == ["Hello"])
        case "press(54)":
            await until(lambda: stage.seen("digital", 54)[:2] == [True, True])  # held
        case "release(54)":
            await until(lambda: stage.seen("digital", 54)[-1:] == [False])
        case "pulse(54)":
            await until(lambda: stage.seen("digital", 54) == [True, False])
        case 'get("d", 21)':
            assert result in (True, "true")
        case 'get("a", 52, "out")':
            assert result in (32456, "32456")
        case "join":
            shown = json.dumps(result, default=dict) if not isinstance(result, str) else result
            assert "digital/21" in shown
        case 'subscribe("d", 21, f)' | 'subscribe("a", 52, f, "out")':
            if callable(result):
                await until(lambda: stage.changes)
            assert stage.changes or "changes" in result or "/21" in result or "/52" in result
        case "update_request()":
            assert result in (None, "", "null", "ok") or "ok" in result
        case _:
            raise AssertionError(f"{method} has no check")


async def prepare(stage, method):
    stage.changes.clear()
    stage.simulator.theatre.seen.clear()
    if method == "start()":
        await stage.panel.call("disconnect")
        await until(lambda: stage.status() == "offline")
    else:
        await stage.panel.call("connect")
        await stage.panel.wait_online(20)


def test_every_method_of_python_cipclient_is_in_the_table():
    from cipclient import CIPSocketClient

    public = {name for name in vars(CIPSocketClient) if not name.startswith("_")} | {"connected", "join"}
    assert {re.match(r"\w+", row[0][0])[0] for row in ROWS} == public == set(ALL)
    assert all(len(row) == 5 and all(row) for row in ROWS)


async def test_every_cell_of_the_table_does_what_it_says():
    async with stage() as made:
        await made.panel.set("analog/52", 32456)
        for (method,), topic, (line,), (code,), (plain,) in ROWS:
            for run, cell in (
                (made.mqtt, topic),
                (made.shell, [line]),
                (made.asyncio, [code]),
                (made.blocking, [plain]),
            ):
                await prepare(made, method)
                try:
                    await check(made, method, await run(*cell))
                except Exception as error:
                    raise AssertionError(f"{method}: {cell}: {error!r}") from error


async def test_10_a_callback_may_ask_for_anything():
    """python-cipclient: get() within a callback waits for ever."""
    async with stage() as made:
        answers = []

        async def callback(change):
            answers.append((made.panel["serial/21"], await made.panel.call("get", join="serial/22")))

        made.panel.subscribe("digital/21", callback)
        await until(lambda: answers == [("Laptop", "Blu-ray")])


def blocks():
    return re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("block", blocks(), ids=["panel", "processor"])
def test_every_configuration_in_the_readme_is_taken(block):
    plan(SERVICE, config.parse(block, Config, {}), None, {})


def test_every_key_and_command_is_in_the_readme():
    from busbar.describe import commands
    from cip_bridge.panel import PanelSession
    from cip_bridge.settings import Device

    for name in [*Device.__struct_fields__, *commands(PanelSession)]:
        assert f"`{name}`" in TEXT, name


def test_it_says_whose_trademarks_these_are():
    assert "not affiliated with" in TEXT
    assert "trademarks" in TEXT
