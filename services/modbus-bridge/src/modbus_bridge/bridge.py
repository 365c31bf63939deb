"""Links and descriptions.

One link for each channel, and for each device with an address of its own.
"""

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import msgspec

from busbar.bridge import Description, Link, Port, Service, by_path, commands
from busbar.bridge.streams import (
    ByteStream,
    Trust,
    open_serial,
    open_tcp,
    open_udp,
    trust,
)
from modbus_bridge.address import Place, listen, place
from modbus_bridge.commands import UnitCommands
from modbus_bridge.master import ModbusMaster, Unit
from modbus_bridge.proxy import Proxy
from modbus_bridge.server import Server
from modbus_bridge.session import COUNTS, ModbusSession
from modbus_bridge.settings import Channel, Config, Device, Opened, Serve, Wiring
from modbus_bridge.unit import ModbusUnit


class _Asked(msgspec.Struct, frozen=True):
    """What a link was made from."""

    wiring: Wiring
    devices: tuple[Device, ...]


def line_link(
    name: str, address: str, wiring: Wiring, devices: Sequence[Device]
) -> Link:
    """Return the link of one line and its units.

    Raise ConfigError for files that cannot be used.
    """
    where = place(address)
    trusted = _trust(wiring) if where.transport == "tls" else None

    async def connect() -> ByteStream:
        return await open_line(where, name, trusted)

    # lives as long as the link: what units owe outlives a connection
    master = ModbusMaster(
        connect,
        where.framing,
        gap=wiring.gap,
        turnaround=wiring.turnaround,
        character=where.character,
        connected=where.transport in ("tcp", "tls"),
        settle=wiring.settle,
        lenient=wiring.lenient,
    )
    units = {each.name: _unit(master, each, where) for each in devices}
    settings = {each.name: each for each in devices}
    silent: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[ModbusSession]:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(master.close)
            await master.open()
            session = ModbusSession(port, master, settings, units, silent)
            await session.greet()
            if wiring.serve is not None:
                await stack.enter_async_context(
                    _serving(wiring.serve, port, master, units, silent)
                )
            yield session

    return Link(
        name,
        address,
        open_,
        {each.name: describe(each, address) for each in devices},
        config=_Asked(wiring, tuple(devices)),
        shared=isinstance(wiring, Channel),
        on_demand=wiring.connect == "on_demand",
        idle_close=wiring.idle_close,
    )


async def open_line(where: Place, name: str, trusted: Trust | None) -> ByteStream:
    """Open what an address names; raise LinkLost."""
    if where.transport == "serial":
        return await open_serial(
            where.host,
            where.baudrate,
            name,
            bits=where.bits,
            parity=where.parity,
            stop=where.stop,
        )
    if where.transport == "udp":
        return await open_udp(where.host, where.port, name)
    return await open_tcp(where.host, where.port, name, trust=trusted)


def _trust(wiring: Wiring) -> Trust:
    return trust(
        wiring.ca_file,
        wiring.fingerprint,
        wiring.insecure,
        wiring.cert_file,
        wiring.key_file,
    )


def _serving(
    serve: Serve,
    port: Port,
    master: ModbusMaster,
    units: Mapping[str, ModbusUnit],
    silent: Mapping[str, int],
) -> contextlib.AbstractAsyncContextManager[Server]:
    offered = {
        each.unit.number: each.unit for each in units.values() if not each.broadcast
    }

    def is_silent(number: int) -> bool:
        return any(units[name].unit.number == number for name in silent)

    def is_locked(number: int) -> bool:
        return any(
            port.locked(name)
            for name, each in units.items()
            if each.unit.number == number
        )

    proxy = Proxy(
        port, master, offered, is_silent, is_locked, writable=serve.access == "rw"
    )
    return Server(proxy.handle, serve.clients).listening(*listen(serve.listen))


def _unit(master: ModbusMaster, settings: Device, where: Place) -> ModbusUnit:
    unit = Unit(
        settings.number(where),
        settings.timeout,
        settings.delay,
        settings.resync == "quiet",
    )
    return ModbusUnit(
        master,
        unit,
        broadcast=settings.broadcast(where),
        single=settings.single,
        masks=settings.mask_write == "auto",
        retries=settings.retries,
    )


def describe(settings: Device, address: str) -> Description:
    """Describe a unit as far as the configuration knows it.

    `address` is that of its line.
    """
    where = place(address)
    wait = (1 + settings.retries) * settings.timeout
    declared = [
        each.declared(settings.period(each), wait) for each in settings.all_properties
    ]
    ages = {each.path: each.max_age for each in declared}
    for total in settings.all_sums:
        declared.append(total.declared(max(ages[part] for part in total.parts)))
    return Description(
        kind="modbus",
        name=settings.title or settings.of_model.title,
        manufacturer=settings.of_model.manufacturer,
        properties=by_path([*declared, COUNTS]),
        commands=commands(UnitCommands),
        address=address
        if where.unit is not None
        else f"{address}::{settings.number(where)}",
        # mask write, read, write, read back, and two that verify
        timeout=6 * (settings.timeout + settings.delay),
    )


def link(settings: Opened) -> Link:
    """Return the link of one device with an address of its own."""
    return line_link(settings.name, settings.address, settings, [settings])


def links(config: Config) -> Iterable[Link]:
    """Return the links of a configuration."""
    for channel in config.channels:
        devices = [each for each in config.devices if each.channel == channel.name]
        if devices:
            yield line_link(channel.name, channel.address, channel, devices)
    for device in config.devices:
        if device.address is not None:
            yield line_link(device.name, device.address, device, [device])


SERVICE = Service("modbus", Config, links, Opened, link)
