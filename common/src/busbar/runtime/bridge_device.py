"""The bridge's own device, `bridge`: its state, its log, its commands.

Source: docs/contract.md, 2 and 4.
"""

import asyncio
import importlib.metadata
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, Protocol

import msgspec

from busbar.command.request import Claim
from busbar.contract import messages
from busbar.contract.describe import (
    Command,
    Description,
    Event,
    NoArguments,
    Property,
    by_path,
    command,
)
from busbar.contract.topics import BRIDGE
from busbar.errors import Forbidden, UnknownTarget
from busbar.link.arbiter import Turn
from busbar.link.session import Link, Outlet, Port
from busbar.mqtt.outbox import Outbox
from busbar.net.trace import LEVELS, set_level
from busbar.publish.device import DevicePublisher
from busbar.runtime.host import Lag

# read once: it takes a file descriptor
VERSION = importlib.metadata.version("busbar-mqtt")
PERIOD = 10.0  # s between looks at our own state
# loggers that `log_level` knows beside the wires
MODULES = frozenset({"mqtt", "session", "bridge", "commands"})
LOG_RATE = 10  # event/log a second

_NUMBERS = {
    "uptime": ("Time since the start", "s"),
    "devices": ("Devices", None),
    "published": ("Messages sent to the broker", None),
    "received": ("Commands received", None),
    "dropped": ("Messages given up", None),
    "suppressed": ("Readings without news", None),
    "queued": ("Events and replies that wait for the broker", None),
    "log_left_out": ("Lines of the log that were too many, or that nobody read", None),
    "errors": ("Readings and events that an error of ours has cost", None),
    "reconnects": ("Connections to the broker after the first", None),
    "loop_lag": ("Worst delay of the event loop in the last period", "s"),
    "rss": ("Resident memory", "B"),
}


class Listed(msgspec.Struct, frozen=True):
    """One row of `list`."""

    device: str
    kind: str
    address: str | None
    status: str
    since: float | None
    locked_by: str | None


class Found(msgspec.Struct, frozen=True):
    """One row of `scan`: what could be connected here."""

    address: str
    kind: str
    title: str | None = None
    serial: str | None = None
    in_use: bool = False


class LogLevel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `log_level`.

    `logger` is one of ours, such as `wire.psu`, or all of them.
    """

    level: Literal["trace", "debug", "info", "warning", "error"]
    logger: str = ""


class DeviceName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `close`."""

    name: str


class Owner(Protocol):
    """The bridge, as the commands below see it."""

    def stats(self) -> Mapping[str, Any]: ...
    def listing(self) -> list[Listed]: ...
    def announce_all(self) -> None: ...
    def disconnect_all(self) -> None: ...
    async def scan(self) -> Sequence[Found]: ...
    async def reload(self) -> Mapping[str, Any]: ...
    async def clean(self) -> int: ...
    async def open_device(self, settings: Any) -> None: ...
    async def close_device(self, name: str) -> None: ...
    def shut_down(self) -> None: ...


class BridgeDeviceCommands:
    """The commands that only the device `bridge` has."""

    def __init__(self, owner: Owner, allow_shutdown: bool) -> None:
        self._owner = owner
        self._allow_shutdown = allow_shutdown

    @command(safe=True, queued=False)
    async def list(
        self, device: str, arguments: NoArguments, claim: Claim
    ) -> list[Listed]:
        """List the devices of this bridge."""
        return self._owner.listing()

    @command(holds="exchange", timeout=120.0)
    async def scan(
        self, session: Any, device: str, arguments: NoArguments, turn: Turn
    ) -> Sequence[Found]:
        """Look for what could be connected here."""
        return await self._owner.scan()

    @command()
    async def close(
        self, session: Any, device: str, arguments: DeviceName, turn: Turn
    ) -> None:
        """Close a device; a restart or reload brings it back if it is configured."""
        await self._owner.close_device(arguments.name)

    @command()
    async def disconnect_all(
        self, session: Any, device: str, arguments: NoArguments, turn: Turn
    ) -> None:
        """Disconnect every device; each stays offline until its `connect`."""
        self._owner.disconnect_all()

    @command(timeout=60.0)
    async def reload(
        self, session: Any, device: str, arguments: NoArguments, turn: Turn
    ) -> Mapping[str, Any]:
        """Read the configuration again and restart what changed."""
        return await self._owner.reload()

    @command(
        title=(
            "Set the level of the log, without `logger` of all of it; `trace` "
            "shows every message both ways"
        ),
    )
    async def log_level(
        self, session: Any, device: str, arguments: LogLevel, turn: Turn
    ) -> None:
        """Set the level of the log, without `logger` of all of it.

        `trace` shows every message both ways.
        """
        known = MODULES | {f"wire.{row.device}" for row in self._owner.listing()}
        if arguments.logger and arguments.logger not in known:
            raise UnknownTarget(
                f"no logger {arguments.logger!r:.100}; there are: "
                f"{', '.join(sorted(known))}"
            )
        set_level(LEVELS[arguments.level], arguments.logger)

    @command(
        title=(
            "Remove every retained topic of this bridge from the broker, then publish "
            "what lives again"
        ),
        timeout=30.0,
    )
    async def clean(
        self, session: Any, device: str, arguments: NoArguments, turn: Turn
    ) -> int:
        """Remove every retained topic of this bridge, then publish what lives."""
        return await self._owner.clean()

    @command()
    async def shutdown(
        self, session: Any, device: str, arguments: NoArguments, turn: Turn
    ) -> None:
        """Stop the bridge."""
        if not self._allow_shutdown:
            raise Forbidden(
                "refused: the configuration has no `bridge: {allow_shutdown: true}`"
            )
        self._owner.shut_down()

    def opening(self, arguments: type[msgspec.Struct]) -> Command:
        """Return the command `open`; it takes the service's device settings."""

        async def run(session: Any, device: str, arguments: Any, turn: Turn) -> None:
            await self._owner.open_device(arguments)

        return Command(
            "open",
            run,
            arguments,
            title="Open a device until the next restart",
            timeout=60.0,
        )


def description(kind: str) -> Description:
    """Describe the device `bridge`."""
    numbers = [
        Property(path, float, title=title, unit=unit)
        for path, (title, unit) in _NUMBERS.items()
    ]
    texts = [
        Property("version", str, title="Version"),
        Property("clock", bool, title="The wall clock is synchronised"),
    ]
    return Description(
        kind=BRIDGE,
        name=f"{kind}-bridge",
        firmware=VERSION,
        properties=by_path([*numbers, *texts]),
        events={"log": Event("log", messages.LogEvent, title="Log from WARNING up")},
    )


class BridgeDeviceSession:
    """The conversation of a bridge with itself."""

    def __init__(self, outlet: Outlet, owner: Owner, tick: Callable[[], None]) -> None:
        self._outlet = outlet
        self._owner = owner
        self._tick = tick
        self._lag = Lag()

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if loop.time() >= due:
                self._publish()
                due = loop.time() + PERIOD
            await self._lag.tick(1.0)
            self._tick()

    async def refresh(self, device: str) -> None:
        self._publish()
        self._owner.announce_all()

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        raise UnknownTarget(f"no property {path!r}")

    def _publish(self) -> None:
        self._outlet.values({**self._owner.stats(), "loop_lag": self._lag.take()})


def link(kind: str, owner: Owner, tick: Callable[[], None]) -> Link:
    """Return the link of the bridge to itself; `tick` is called every second."""

    @asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[BridgeDeviceSession]:
        yield BridgeDeviceSession(port.outlet(BRIDGE), owner, tick)

    return Link(BRIDGE, "", open_, {BRIDGE: description(kind)})


class LogEvents(logging.Handler):
    """Publishes records from WARNING up as event/log, at most LOG_RATE a second.

    The rest are counted.
    """

    def __init__(self, outlet: DevicePublisher, outbox: Outbox) -> None:
        super().__init__(logging.WARNING)
        self._outlet = outlet
        self._outbox = outbox
        self._loop = asyncio.get_running_loop()
        self._left = float(LOG_RATE)
        self._since = self._loop.time()
        self._skipped = 0

    def emit(self, record: logging.LogRecord) -> None:
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(
            self._publish, record, record.getMessage()[:1000]
        )

    def _publish(self, record: logging.LogRecord, message: str) -> None:
        now = self._loop.time()
        self._left = min(LOG_RATE, self._left + (now - self._since) * LOG_RATE)
        self._since = now
        if self._left < 1:
            self._skipped += 1
            return
        self._left -= 1
        more = (
            (f" ({self._skipped} more messages were left out before)")
            if self._skipped
            else ""
        )
        self._skipped = 0
        device = getattr(record, "device", None)
        text, level = message + more, record.levelname.lower()
        self._outlet.event(
            "log",
            {"level": level, "logger": record.name, "message": text, "device": device},
        )
