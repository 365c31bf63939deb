"""Links and descriptions: one link for each instrument."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any

from busbar.bridge import Blob, Description, Link, Port, Property, Service, commands
from sigrok_bridge.commands import (
    ANNOTATIONS,
    CAPTURE,
    LINES,
    SESSION,
    InstrumentCommands,
    Latest,
)
from sigrok_bridge.instrument import Instrument
from sigrok_bridge.program import SigrokCli
from sigrok_bridge.session import SigrokSession
from sigrok_bridge.settings import PROGRAM, Config, Device, driver


def link(settings: Device, program: str = PROGRAM) -> Link:
    """Return the link of one instrument."""
    return linked(settings, lambda: SigrokCli(program), (settings, program))


def linked(settings: Device, cli: Callable[[], SigrokCli], config: object) -> Link:
    """Return the link of an instrument behind this program."""
    latest: dict[str, Any] = {}  # what the blobs were, also of a session before

    @contextlib.asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[SigrokSession]:
        instrument = Instrument(settings, cli())
        session = SigrokSession(settings, port, instrument, latest)
        await session.start()
        yield session

    return Link(
        settings.name,
        driver(settings.address),
        open_,
        {settings.name: describe(settings)},
        config=config,
        on_demand=settings.connect == "on_demand",
        idle_close=settings.idle_close,
    )


def describe(settings: Device) -> Description:
    """Describe an instrument as far as it is known before it has answered."""
    described = Description(
        kind="sigrok",
        name=settings.title,
        commands=commands(InstrumentCommands),
        timeout=3 * settings.timeout,  # a set writes and reads back
    )
    described = described.with_blob(Blob(CAPTURE, SESSION, "The latest capture"))
    described = described.with_blob(Blob(ANNOTATIONS, LINES, "What decoders found"))
    latest = Property(CAPTURE, Latest, title="The latest capture")
    return replace(described, properties={**described.properties, CAPTURE: latest})


def links(config: Config) -> Iterable[Link]:
    """Return the links of a configuration."""
    return [link(device, config.program) for device in config.devices]


SERVICE = Service("sigrok", Config, links, Device, link)
