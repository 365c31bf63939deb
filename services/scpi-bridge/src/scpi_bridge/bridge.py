"""Links and descriptions: one link for each instrument."""

import contextlib
from collections.abc import AsyncIterator, Iterable

from busbar.bridge import Description, Link, Port, Service, by_path, commands
from busbar.bridge.streams import ByteStream, open_tcp
from scpi_bridge.commands import InstrumentCommands
from scpi_bridge.instrument import Instrument
from scpi_bridge.session import RESYNCS, ScpiSession
from scpi_bridge.settings import Config, Device, endpoint


def link(settings: Device) -> Link:
    """Return the link of one instrument."""
    host, port = endpoint(settings.address)

    @contextlib.asynccontextmanager
    async def open_(port_: Port) -> AsyncIterator[ScpiSession]:
        async def connect() -> ByteStream:
            return await open_tcp(host, port, settings.name)

        instrument = Instrument(
            connect,
            timeout=settings.timeout,
            terminator=settings.terminator,
            encoding=settings.encoding,
            errors=settings.errors,
            settle=settings.settle,
            acknowledge=settings.acknowledge,
            block_limit=settings.block_limit,
        )
        try:
            await instrument.open()
            port_.connecting()
            session = ScpiSession(settings, port_, instrument)
            await session.start()
            yield session
        finally:
            await instrument.close()

    return Link(
        settings.name,
        settings.address,
        open_,
        {settings.name: describe(settings)},
        config=settings,
        on_demand=settings.connect == "on_demand",
        idle_close=settings.idle_close,
    )


def describe(settings: Device) -> Description:
    """Describe an instrument as far as the configuration knows it."""
    return Description(
        kind="scpi",
        name=settings.title,
        properties=by_path(
            [
                *(each.declared(settings.timeout) for each in settings.properties),
                RESYNCS,
            ]
        ),
        commands=commands(InstrumentCommands),
        # a set writes, reads the error queue and reads back
        timeout=5 * settings.timeout + settings.settle,
    )


def links(config: Config) -> Iterable[Link]:
    """Return the links of a configuration."""
    return [link(device) for device in config.devices]


SERVICE = Service("scpi", Config, links, Device, link)
