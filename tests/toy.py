"""A bridge to a toy.

Every kind of property, command and trouble that the contract knows, without a protocol.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from busbar.config import loader
from busbar.contract.describe import (
    Blob,
    Description,
    Event,
    NoArguments,
    Property,
    by_path,
    command,
    commands,
)
from busbar.contract.values import choice, number
from busbar.errors import DeviceRefused, LinkLost
from busbar.link.arbiter import Turn
from busbar.link.session import Link, Port
from busbar.runtime.service import Service


class Seconds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seconds: Annotated[float, Meta(ge=0, le=100)]


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str
    times: Annotated[int, Meta(ge=0, le=1_000_000)] = 1


class Axes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    RA: float
    DEC: float


class Toy:
    """The hardware: what it was told, and what the test wants it to do."""

    def __init__(self) -> None:
        self.did: list[Any] = []
        self.reachable = True
        self.values: dict[str, Any] = {
            "level": 1.0,
            "mode": "a",
            "on": False,
            "name": "x",
            "axes": {"RA": 1.0, "DEC": 2.0},
        }
        self.opened = 0
        self.sessions: list[ToySession] = []

    def unplug(self, reason: str = "unplugged") -> None:
        self.reachable = False
        for session in self.sessions:
            session.broken.set_exception(LinkLost(reason))
        self.sessions.clear()


class ToySession:
    def __init__(self, toy: Toy, port: Port) -> None:
        self.toy, self.port = toy, port
        self.outlet = port.outlet("toy")
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(self) -> None:
        await self.refresh("toy")
        await self.broken

    async def refresh(self, device: str) -> None:
        self.toy.did.append("refresh")
        self.outlet.values(self.toy.values)

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        if path == "level" and value == 13:
            raise DeviceRefused("13 is bad luck", number=13)
        self.toy.did.append((path, value))
        self.toy.values[path] = msgspec.to_builtins(value)
        self.outlet.values({path: self.toy.values[path]})
        return self.toy.values[path]

    @command(timeout=30.0)
    async def echo(self, device: str, arguments: Text, turn: Turn) -> str:
        """Say it again."""
        self.toy.did.append(arguments.text)
        return arguments.text * arguments.times

    @command(timeout=90.0)
    async def work(self, device: str, arguments: Seconds, turn: Turn) -> float:
        """Work with the link in hand."""
        self.toy.did.append(("work", arguments.seconds))
        turn.progress(0.5, "half done")
        await asyncio.sleep(arguments.seconds)
        return arguments.seconds

    @command(timeout=90.0, holds="exchange")
    async def wait(self, device: str, arguments: Seconds, turn: Turn) -> float:
        """Wait without the link."""
        turn.release()
        await asyncio.sleep(arguments.seconds)
        return arguments.seconds

    @command(safe=True, interrupts=True)
    async def stop(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Stop whatever runs."""
        self.toy.did.append("stop")

    @command()
    async def fail(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Have a bug."""
        raise ZeroDivisionError("a bug")

    @command()
    async def nonsense(self, device: str, arguments: NoArguments, turn: Turn) -> Any:
        """Return what JSON cannot say."""
        return object()

    @command(timeout=1.5)
    async def asked(
        self, device: str, arguments: NoArguments, turn: Turn
    ) -> float | None:
        """Return the caller's patience."""
        return turn.asked


PROPERTIES = by_path(
    [
        Property("level", number(0, 30), "rw", unit="V"),
        Property("mode", choice("a", "b"), "rw"),
        Property("on", bool, "rw"),
        Property("name", str, "rw"),
        Property("axes", Axes, "rw"),
        Property("reading", float),
        Property(
            "digital/{join}",
            bool,
            "rw",
            parameters={"join": range(1, 101)},
            default=False,
        ),
    ]
)


ABOUT = Description(
    "toy",
    PROPERTIES,
    commands(ToySession),
    {"beep": Event("beep")},
    {"picture": Blob("picture", "image/png")},
).with_blob(Blob("picture", "image/png"))


class Settings(loader.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    on_demand: bool = False
    idle_close: float = 60.0
    shared: bool = False
    twins: int = 0  # more devices on the same link
    finds: bool = False


def service(toy: Toy) -> Service:
    """Return the bridge to a toy."""

    @asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[ToySession]:
        if not toy.reachable:
            raise LinkLost("nobody there")
        toy.opened += 1
        port.connecting()
        session = ToySession(toy, port)
        toy.sessions.append(session)
        try:
            yield session
        finally:
            if session in toy.sessions:
                toy.sessions.remove(session)

    def links(settings: Settings) -> list[Link]:
        devices = {"toy": ABOUT} | {
            f"twin{number}": ABOUT for number in range(1, settings.twins + 1)
        }
        return [
            Link(
                "toy",
                "toy::1",
                open_,
                devices,
                config=settings,
                on_demand=settings.on_demand,
                idle_close=settings.idle_close,
                shared=settings.shared,
                finds=settings.finds,
            )
        ]

    return Service("toy", Settings, links)
