"""Record conversations with public implementations of CIP, each with another program.

    python -m tests.traces.cip_record              all of them
    python -m tests.traces.cip_record processor    one of them

`processor` is that of pycrestron-cip, its panel python-cipclient: nothing of
it is ours. The panels have our processor role as their peer.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cipclient import CIPSocketClient

from busbar.codecs.cip import Join, Update
from busbar.testing.fakes import until
from tests import npm, pip_peer
from tests.broker import find
from tests.cip_bridge.panels import listening
from tests.traces import record
from tests.traces.trace import FOLDER, Line, rows

PYCRESTRON = Path(__file__).parents[1] / "cip_bridge" / "pycrestron.py"
# what our program has driven before a panel comes
DRIVEN = {
    Join("digital", 1): True,
    Join("digital", 300): True,
    Join("analog", 12): 32456,
    Join("serial", 3): "hello",
}
# crestron-cip knows one port only; so an address of its own
NODE_HOST, NODE_PORT = "127.41.79.4", 41794
NODE = """
const cip = require("crestron-cip");
const panel = cip.connect({ host: process.argv[2], ipid: "\\x0a" }, () => {});
panel.subscribe((data) => {
  if (data.type === "digital" && data.join === 300) {
    panel.dset(7, 1); panel.aset(8, 65535); panel.pulse(9);
  }
});
"""
Act = Callable[[int], Awaitable[None]]


@asynccontextmanager
async def program(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program; it is killed at the end."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def pycrestron(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run pycrestron-cip, ready."""
    folder = await asyncio.to_thread(pip_peer.packages, "pycrestron-cip")
    command = (sys.executable, str(PYCRESTRON), str(folder), *arguments)
    async with program(*command) as process:
        yield process


def say(process: asyncio.subprocess.Process, *call: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{json.dumps(call)}\n".encode())


async def cipclient(port: int) -> None:
    """Sign on with python-cipclient; set and press."""
    client = CIPSocketClient("127.0.0.1", 0x0A, port)
    client.start()
    await until(lambda: client.connected, "the end of the query")
    await asyncio.sleep(0.5)
    client.set("d", 7, 1)
    client.set("a", 8, 65535)
    client.set("s", 9, "PLAY")
    client.set("s", 9, "PLAY")
    await asyncio.sleep(0.5)
    client.press(10)
    await asyncio.sleep(1.2)
    client.release(10)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(client.stop)


async def pycrestron_panel(port: int) -> None:
    """Sign on with pycrestron-cip; set and press."""
    async with pycrestron("panel", f"{port}", "0A") as process:
        await asyncio.sleep(1)
        for call in (
            ("set_digital", 7, True),
            ("set_analog", 8, 65535),
            ("set_serial", 9, "PLAY"),
            ("set_serial", 9, "PLAY"),
            ("pulse", 10, 1.2),
        ):
            say(process, *call)
        await asyncio.sleep(2)


async def crestron_cip(port: int) -> None:
    """Sign on with crestron-cip; set and press when the dump has come."""
    with TemporaryDirectory() as folder:
        npm.link("crestron-cip", Path(folder))
        file = Path(folder) / "panel.js"
        file.write_text(NODE)
        async with program(find("node"), str(file), NODE_HOST):
            await asyncio.sleep(3)


async def panel(
    act: Act, result: str, host: str = record.HOST, port: int = 0
) -> tuple[list[Line], list[list[Any]]]:
    """Record a panel at our processor role; return it, and the joins that came."""
    lines: list[Line] = []
    async with listening(result=_result(result)) as (listener, seat, said):
        for join, value in DRIVEN.items():
            seat.drive(join, value)
        recorder = record.Recorder(lines.append)
        tee = recorder.tcp(port, "127.0.0.1", listener.port, listen=host)
        async with tee as place:
            await act(place)
        await asyncio.sleep(0.5)
    return lines, [shown(each) for each in said]


async def processor() -> tuple[list[Line], list[list[Any]]]:
    """Record python-cipclient at the processor of pycrestron-cip."""
    lines: list[Line] = []
    async with pycrestron("processor", "0A") as process:
        assert process.stdout is not None
        port = json.loads(await process.stdout.readline())
        say(process, "set_digital", 1, True)
        say(process, "set_analog", 12, 32456)
        say(process, "set_serial", 3, "hello")
        recorder = record.Recorder(lines.append)
        async with recorder.tcp(0, "127.0.0.1", port) as place:
            acting = asyncio.create_task(cipclient(place))
            await asyncio.sleep(2.5)
            for _ in range(3):
                say(process, "set_serial", 20, "NEXT")
                await asyncio.sleep(0.3)
            await acting
    return lines, []


def shown(update: Update) -> list[Any]:
    return [update.join.kind, update.join.number, update.value, update.form]


def _result(text: str) -> Any:
    from busbar.codecs import cip

    data = bytes.fromhex(text)
    return cip.ConnectResult(0, data[0], data[1:])


SCENARIOS: dict[str, tuple[str, Callable[[], Any]]] = {
    "processor": (
        "python-cipclient 0.0.2 at the processor of pycrestron-cip 0.1.2",
        processor,
    ),
    "panel-cipclient": (
        "python-cipclient 0.0.2 at our processor role",
        lambda: panel(cipclient, "001f"),
    ),
    "panel-pycrestron": (
        "pycrestron-cip 0.1.2 at our processor role",
        lambda: panel(pycrestron_panel, "001f"),
    ),
    "panel-crestron-cip": (
        "npm crestron-cip 1.0.2 at our processor role",
        lambda: panel(crestron_cip, "200f", NODE_HOST, NODE_PORT),
    ),
}


async def main() -> None:
    """Record what the command line asks for."""
    for name in sys.argv[1:] or SCENARIOS:
        about, recorded = SCENARIOS[name]
        lines, joins = await recorded()
        made = f"python -m tests.traces.cip_record {name}"
        head = {"about": about, "made": made, "encoding": "hex", "joins": joins}
        file = FOLDER / "cip" / f"{name}.jsonl"
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(f"{row}\n" for row in rows(head, lines)))
        print(f"{file.name}: {len(lines)} lines")


if __name__ == "__main__":
    asyncio.run(main())
