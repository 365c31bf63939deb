"""A bridge without a protocol, in this process.

Its link makes values, its command answers at once.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from busbar.contract.describe import Description, Property, by_path, command, commands
from busbar.link.arbiter import Turn
from busbar.link.session import Link, Port
from busbar.net.endpoint import Endpoint
from busbar.runtime.bridge import Bridge
from busbar.runtime.bridge_spec import BridgeSpec
from tests.bench.load import Load

NAME = "bench"
BASE = f"busbar/{NAME}"
# s between looks whether everything has been sent: rare enough to cost nothing
POLL = 0.1


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `echo`."""

    text: str


class Produced:
    """A session that leaves producing to the benchmark."""

    def __init__(self, port: Port, load: Load) -> None:
        self._outlets = {name: port.outlet(name) for name in load.names}

    def publish(self, device: str, readings: dict[str, float]) -> None:
        self._outlets[device].values(readings)

    async def serve(self) -> None:
        await asyncio.Event().wait()

    async def refresh(self, device: str) -> None:
        pass

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        self._outlets[device].values({path: value})
        return value

    @command()
    async def echo(self, device: str, arguments: Text, turn: Turn) -> str:
        """Say it again."""
        return arguments.text


@asynccontextmanager
async def serving(url: str, load: Load) -> AsyncIterator[tuple[Bridge, Produced]]:
    """Run a bridge with the devices and properties of a load.

    Entered = online, left = stopped.
    """
    opened: asyncio.Future[Produced] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[Produced]:
        opened.set_result(session := Produced(port, load))
        yield session

    kind = int if load.stamped else float
    about = Description(
        "bench",
        by_path([Property(path, kind, "rw") for path in load.paths]),
        commands(Produced),
    )
    link = Link("bench", "bench::1", open_, dict.fromkeys(load.names, about))
    running = Bridge(BridgeSpec("bench", NAME, Endpoint(url), [link]))
    task = asyncio.create_task(running.run())
    try:
        await asyncio.wait(
            [task, asyncio.ensure_future(running.connected.wait())],
            return_when="FIRST_COMPLETED",
        )
        yield running, await opened
    finally:
        running.stop()
        await task


async def quiet(running: Bridge) -> None:
    """Return when everything has been sent and acknowledged, the last snapshot too."""
    while _waits(running):  # noqa: ASYNC110  # looking now and then adds nothing to what is measured
        await asyncio.sleep(POLL)


def _waits(running: Bridge) -> bool:
    timers = any(device._timers for device in running._devices())
    connection: Any = running._connection
    return (
        timers
        or not running._context.outbox.empty
        or bool(connection._in_flight)
        or connection._client.want_write()
    )
