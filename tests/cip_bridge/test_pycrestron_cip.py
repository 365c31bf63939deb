"""pycrestron-cip 0.1.2 (tested by its author on a 3-series) against both our roles."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from busbar.testing.fakes import until
from cip_bridge.bridge import SERVICE
from tests import pip_peer
from tests.broker import free_port
from tests.cip_bridge.processor import PANEL
from tests.cip_bridge.test_peers import stage
from tests.cip_bridge.theatre import hurried
from tests.running import running

PROGRAM = Path(__file__).with_name("pycrestron.py")


class Peer:
    """The running program: `say` calls a method of it, `said` is what came to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process, self.said = process, []

    def say(self, name, *arguments):
        line = json.dumps([name, *arguments])
        self.process.stdin.write(f"{line}\n".encode())

    async def read(self):
        while line := await self.process.stdout.readline():
            self.said.append(json.loads(line))


@asynccontextmanager
async def pycrestron(role, *arguments):
    folder = await asyncio.to_thread(pip_peer.packages, "pycrestron-cip")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        str(folder),
        role,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    peer = Peer(process)
    reading = asyncio.create_task(peer.read())
    try:
        await until(lambda: peer.said, role)
        yield peer
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def test_its_panel_signs_on_is_driven_and_drives():
    port = free_port()
    async with (
        stage("127.0.0.1", port, "001f") as bus,
        pycrestron("panel", f"{port}", "41") as peer,
    ):
        await until(lambda: "ready" in peer.said)
        dump = [each for each in peer.said if each != "ready"]
        assert sorted(dump) == [
            ["analog", 12, 32456],
            ["digital", 1, True],
            ["digital", 300, True],
            ["serial", 3, "hello"],
        ]
        for text in ("NEXT", "NEXT"):
            await bus.set("xpanel", "serial/20", text)
        await until(lambda: peer.said.count(["serial", 20, "NEXT"]) == 2)
        peer.say("set_digital", 7, True)
        peer.say("set_analog", 8, 65535)
        peer.say("set_serial", 9, "PLAY")
        peer.say("set_serial", 9, "PLAY")
        peer.say("pulse", 11)
        await until(lambda: bus.good("xpanel").get("digital/11") is False)
        assert bus.good("xpanel")["digital/7"] is True
        assert bus.good("xpanel")["analog/8"] == 65535
        texts = [each["value"] for each in bus.events("xpanel", "received")]
        assert texts == ["PLAY", "PLAY"]
        long = "".join(f"{number:04}" for number in range(200))
        peer.say("set_serial", 30, long)
        assert await bus.value("xpanel", "serial/30") == long
        await bus.set("xpanel", "serial/31", long)
        await until(lambda: ["serial", 31, long] in peer.said)
        # a maintained digital stays, a button is released
        peer.say("press", 12)
        assert await bus.value("xpanel", "digital/12") is True
        peer.process.kill()
        assert await bus.value("xpanel", "digital/12", lambda on: not on) is False
        assert bus.good("xpanel")["digital/7"] is True


async def test_its_processor_has_us_as_its_panel():
    async with pycrestron("processor", "0A") as peer:
        peer.say("set_digital", 1, True)
        peer.say("set_analog", 12, 32456)
        peer.say("set_serial", 3, "hello")
        text = PANEL.format(address=f"cip::127.0.0.1:{peer.said[0]}", more="")
        async with running(SERVICE, text) as bus:
            await bus.status("panel", "online")
            assert await bus.value("panel", "digital/1") is True
            assert await bus.value("panel", "analog/12") == 32456
            assert await bus.value("panel", "serial/3") == "hello"
            for _ in range(3):
                peer.say("set_serial", 20, "NEXT")
            await until(lambda: len(bus.events("panel", "received")) == 3)
            pulses = [
                asyncio.create_task(bus.call("panel", "pulse", 11)) for _ in range(10)
            ]
            for each in pulses:
                assert (await hurried(bus, each))["ok"]
            presses = [["digital", 11, True], ["digital", 11, False]] * 10
            await until(lambda: peer.said[1:] == presses)
            await bus.set("panel", "analog/1", 32768)
            await until(lambda: ["analog", 1, 32768] in peer.said)
            count = len(peer.said)
            assert (await bus.call("panel", "refresh"))["ok"]
            assert len(peer.said) == count
            peer.say("drop")
            await bus.status("panel", "offline")
            await hurried(bus, bus.status("panel", "online"))
            await until(lambda: ["analog", 1, 32768] in peer.said[count:])
