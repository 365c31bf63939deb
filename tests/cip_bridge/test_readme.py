"""The table of the README, cell by cell.

MQTT, command line, asyncio and blocking, on a real broker.
"""

import ast
import asyncio
import inspect
import itertools
import json
import os
import re
import shlex
import sys
import textwrap
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from busbar.client import Client, blocking
from busbar.codecs.cip import Join
from busbar.config import loader
from busbar.runtime.bridge import Bridge
from busbar.runtime.service import plan
from busbar.testing.fakes import until
from cip_bridge.bridge import SERVICE
from cip_bridge.settings import Config, place
from cip_bridge.simulator.__main__ import Simulator
from tests.broker import Mosquitto, free_port
from tests.running import running
from tests.tables import codes
from tests.watcher import Watcher

README = Path(__file__).parents[2] / "services/cip-bridge/README.md"
TEXT = README.read_text()
ROWS = codes(TEXT.partition("## From python-cipclient")[2])
BASE = "busbar/theatre/panel/"
THEATRE = (
    "bridge: {{name: theatre}}\ndevices: [{{name: panel, address: '{address}', ipid: "
    "0x0A}}]"
)
ALL = [
    "stop",
    "start",
    "connected",
    "set",
    "press",
    "release",
    "pulse",
    "get",
    "join",
    "subscribe",
    "update_request",
]


class Stage:
    """Everything that a row may touch."""

    def __init__(self, simulator, broker, watcher, bus, bridge):
        self.simulator, self.broker, self.watcher, self.bus, self.bridge = (
            simulator,
            broker,
            watcher,
            bus,
            bridge,
        )
        self.panel = bus.device("theatre/panel")
        self.changes, self.join, self.asked = [], None, 0

    def seen(self, kind, number):
        return [
            value
            for join, value in self.simulator.theatre.seen
            if join == Join(kind, number)
        ]

    def status(self):
        return self.watcher.on(f"{BASE}status")[-1].json["state"]

    async def mqtt(self, target, payload=None):
        """Publish a command and return its outcome, or what a client that subscribes
        now is given first."""
        if payload is None:
            async with Watcher(self.broker.port, BASE + target) as watcher:
                await until(
                    lambda: any(map(self.is_meant, watcher.on(BASE + target))), target
                )
                return next(
                    seen.json
                    for seen in watcher.on(BASE + target)
                    if self.is_meant(seen)
                )
        before = len(self.watcher.on(f"{BASE}reply"))
        self.watcher.publish(BASE + target, payload)
        await until(
            lambda: len(self.watcher.on(f"{BASE}reply")) > before,
            f"the outcome of {target}",
        )
        reply = self.watcher.on(f"{BASE}reply")[-1].json
        assert reply["ok"], reply
        return reply["result"]

    def is_meant(self, seen):
        """Return whether a message is about the join in question."""
        return self.join is None or any(
            change["path"] == self.join for change in seen.json["changes"]
        )

    async def changing(self):
        """Change the join in question again and again, for its subscriber."""
        for number in itertools.count():
            if self.join == "digital/21":
                self.simulator.theatre.change(Join("digital", 21), number % 2 == 0)
            else:
                await self.panel.set("analog/52", number)
            await asyncio.sleep(0.02)

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
        found = eval(
            compile(code, "README", "eval", flags),
            {"panel": self.panel, "f": self.changes.append},
        )
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
            first = plan(SERVICE, loader.parse(text, Config, {}), broker.url, {})
            bridge = Bridge(first, lambda: first)
            task = asyncio.create_task(bridge.run())
            try:
                async with Watcher(broker.port) as watcher, Client(broker.url) as bus:
                    made = Stage(simulator, broker, watcher, bus, bridge)
                    await made.panel.wait_online(20)
                    await until(
                        lambda: watcher.on(f"{BASE}state/digital/21"), "the values"
                    )
                    yield made
            finally:
                bridge.stop()
                await task


async def check(stage, method, result):
    """See that a row has done what python-cipclient would have done."""
    match method:
        case "stop()":
            await until(lambda: stage.status() == "offline")
        case "start()":
            await until(lambda: stage.status() == "online")
        case "connected":
            said = result["state"] if isinstance(result, dict) else result
            assert said is None or "online" in said  # the SDK has waited for it
            assert stage.status() == "online"
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
            shown = (
                json.dumps(result, default=dict)
                if not isinstance(result, str)
                else result
            )
            assert "digital/21" in shown
        case 'subscribe("d", 21, f)' | 'subscribe("a", 52, f, "out")':
            if callable(result):
                await until(lambda: stage.changes)
                assert {change.path for change in stage.changes} == {stage.join}
            else:
                assert stage.join in (
                    result if isinstance(result, str) else json.dumps(result)
                )
        case "update_request()":
            await until(lambda: stage.simulator.program.asked == stage.asked + 1)
        case _:
            raise AssertionError(f"{method} has no check")


async def prepare(stage, method):
    stage.changes.clear()
    stage.simulator.theatre.seen.clear()
    stage.join = {
        'subscribe("d", 21, f)': "digital/21",
        'subscribe("a", 52, f, "out")': "_out/analog/52",
    }.get(method)
    if method == "start()":
        await stage.panel.call("disconnect")
        await until(lambda: stage.status() == "offline")
    else:
        await stage.panel.call("connect")
        await stage.panel.wait_online(20)
    stage.asked = stage.simulator.program.asked


def test_every_method_of_python_cipclient_is_in_the_table():
    from cipclient import CIPSocketClient

    public = {name for name in vars(CIPSocketClient) if not name.startswith("_")} | {
        "connected",
        "join",
    }
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
                changing = [asyncio.create_task(made.changing())] if made.join else []
                try:
                    await check(made, method, await run(*cell))
                except Exception as error:
                    raise AssertionError(f"{method}: {cell}: {error!r}") from error
                finally:
                    for task in changing:
                        task.cancel()
                    await asyncio.gather(*changing, return_exceptions=True)


async def test_10_a_callback_may_ask_for_anything():
    """python-cipclient: get() within a callback waits for ever."""
    async with stage() as made:
        answers = []

        async def callback(change):
            answers.append(
                (
                    made.panel["serial/21"],
                    await made.panel.call("get", {"join": "serial/22"}),
                )
            )

        made.panel.subscribe("digital/21", callback)
        await until(lambda: answers == [("Laptop", "Blu-ray")])


async def test_the_simulator_and_its_example_run_as_it_says(tmp_path):
    """With another port: this one may be taken."""
    simulator, bridge = re.findall(
        (
            r"^    (python -m "
            r"cip_bridge\.simulator.*|cip-bridge "
            r".*example\.yaml)$"
        ),
        TEXT,
        re.M,
    )
    example = README.parents[2] / bridge.split()[-1]
    (panel,) = loader.load(example, Config, {}).devices
    assert f"{place(panel.address).port}" in simulator.split()
    port = str(free_port())
    with Mosquitto() as broker:
        async with (
            process(simulator.replace("41794", port)) as simulated,
            process(f"{bridge} --broker {broker.url}", CIP_PORT=port),
            Watcher(broker.port) as watcher,
        ):
            assert json.loads(await simulated.stdout.readline()) == {
                "CIP_PORT": int(port)
            }
            await until(
                lambda: (watcher.last(f"{BASE}status") or {}).get("state") == "online",
                "online",
            )
            await until(
                lambda: watcher.last(f"{BASE}state/room") == "Theatre",
                "the name of the room",
            )


@asynccontextmanager
async def process(line, **variables):
    """A line of the README, as a process."""
    program, *arguments = shlex.split(line)
    command = (
        [sys.executable, "-m", "cip_bridge"]
        if program == "cip-bridge"
        else [sys.executable]
    )
    made = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **variables},
        cwd=README.parents[2],
    )
    try:
        yield made
    finally:
        made.terminate()
        await made.communicate()


def blocks():
    return re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("block", blocks(), ids=["panel", "names", "processor"])
def test_every_configuration_in_the_readme_is_taken(block):
    plan(SERVICE, loader.parse(block, Config, {}), None, {})


def test_every_key_and_command_is_in_the_readme():
    from busbar.contract.describe import commands
    from cip_bridge.panel_role.commands import PanelCommands
    from cip_bridge.processor_role.commands import ProcessorCommands
    from cip_bridge.settings import Device

    holders = commands(PanelCommands, ProcessorCommands)
    assert {*holders} == {
        "press", "release", "pulse", "ramp", "update_request", "get", "send",
    }  # fmt: skip
    for name in [*Device.__struct_fields__, *holders]:
        assert f"`{name}`" in TEXT, name


def test_it_says_whose_trademarks_these_are():
    assert "not affiliated with" in TEXT
    assert "trademarks" in TEXT


async def test_the_entities_for_home_assistant_have_topics_and_payloads_that_work():
    """As Home Assistant would use them."""
    text = re.search(r"^    mqtt:\n((?:    .*\n)+)", TEXT, re.M)[0]
    switch, button = yaml.safe_load(textwrap.dedent(text))["mqtt"]
    entity, press = switch["switch"], button["button"]
    example = (README.parent / "src/cip_bridge/example.yaml").read_text()
    async with Simulator() as simulator:
        port = f"{simulator.listener.port}"
        filled = re.sub(r"\$\{CIP_PORT:-\d+\}", port, example)
        async with running(SERVICE, filled) as bus:
            await bus.status("panel", "online")
            for each in entity["availability"]:
                assert json.loads(bus.broker.payloads(each["topic"])[-1])["state"]
            topic = entity["command_topic"].removeprefix(f"{bus.base}/panel/set/")
            for payload in (entity["payload_on"], entity["payload_off"]):
                assert (await bus.set("panel", topic, payload))["ok"]
            states = bus.broker.payloads(entity["state_topic"])
            assert states[-1].decode() in (entity["payload_on"], entity["payload_off"])
            command = press["command_topic"].removeprefix(f"{bus.base}/panel/call/")
            assert (await bus.call("panel", command, press["payload_press"]))["ok"]
