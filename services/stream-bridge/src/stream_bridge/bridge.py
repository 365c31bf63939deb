"""Links and descriptions: one link for each stream."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence

from busbar.bridge import Description, Found, Link, Port, Service, by_path, commands
from busbar.bridge.streams import (
    ByteStream,
    Trust,
    open_serial,
    open_tcp,
    open_udp,
    open_unix,
    trust,
)
from stream_bridge import ports
from stream_bridge.commands import StreamCommands
from stream_bridge.pipe import Pipe
from stream_bridge.publisher import DROPPED, LATE, WRONG, FramePublisher, events
from stream_bridge.session import COUNTED, MODEM, StreamSession
from stream_bridge.settings import Config, Device


def link(settings: Device) -> Link:
    """Return the link of one stream; raise ConfigError for files that are no use."""
    trusted = _trust(settings) if settings.place.transport == "tls" else None

    async def connect() -> ByteStream:
        return await open_stream(settings, trusted)

    @contextlib.asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[StreamSession]:
        publisher = FramePublisher(settings, port.outlet(settings.name))
        pipe = Pipe(
            connect,
            settings.reader(),
            publisher.take,
            settle=settings.settle,
            reopens=settings.reopens,
        )
        try:
            await pipe.open()
            yield StreamSession(settings, port, pipe, publisher)
        finally:
            publisher.close()
            await pipe.close()

    return Link(
        settings.name,
        settings.address,
        open_,
        {settings.name: describe(settings)},
        config=settings,
        on_demand=settings.connect == "on_demand",
        idle_close=settings.idle_close,
    )


async def open_stream(settings: Device, trusted: Trust | None) -> ByteStream:
    """Open what an address names; raise LinkLost."""
    where = settings.place
    name, limit = settings.name, settings.connect_timeout
    if where.is_port:
        remote = f"rfc2217://{_host(where.host)}:{where.port}"
        path = remote if where.port else ports.find(where.host, where.usb_serial)
        return await open_serial(
            path,
            where.baudrate,
            name,
            bits=where.bits,
            parity=where.parity,
            stop=where.stop,
            flow=settings.flow,
            dtr=settings.dtr,
            rts=settings.rts,
            low_latency=settings.low_latency,
            timeout=limit,
        )
    if where.transport == "udp":
        return await open_udp(where.host, where.port, name)
    if where.transport == "unix":
        return await open_unix(where.host, name, limit)
    return await open_tcp(where.host, where.port, name, limit, trusted)


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _trust(settings: Device) -> Trust:
    return trust(
        settings.ca_file,
        settings.fingerprint,
        settings.insecure,
        settings.cert_file,
        settings.key_file,
    )


def describe(settings: Device) -> Description:
    """Describe a device as far as the configuration knows it."""
    declared = [each.declared() for each in settings.fields]
    if settings.place.is_port:
        declared += [*MODEM, *COUNTED]
    return Description(
        kind="stream",
        name=settings.title,
        properties=by_path([*declared, WRONG, LATE, DROPPED]),
        commands=commands(StreamCommands),
        events=events(settings),
        # what an earlier question owes is waited for, then the answer
        timeout=3 * settings.timeout + settings.settle,
    )


def links(config: Config) -> Iterable[Link]:
    """Return the links of a configuration."""
    return [link(device) for device in config.devices]


async def scan() -> Sequence[Found]:
    """Return the serial ports of this machine."""
    found: list[Found] = []
    for each in ports.adapters():
        address = f"serial::{each.path}::9600::8N1"
        found.append(Found(address, "stream", each.title, each.serial))
    return found


SERVICE = Service("stream", Config, links, Device, link, scan)
