"""Links of the configuration, and the opening of each kind of interface."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import can

from busbar.bridge import ConfigError, Found, Link, LinkLost, Port, Retry, Service
from can_bridge import database
from can_bridge.address import OWN, CanAddress, endpoint, parse_address
from can_bridge.interfaces import socketcan
from can_bridge.interfaces.interface import CanInterface, log
from can_bridge.interfaces.loopback import open_loopback
from can_bridge.interfaces.pythoncan import open_pythoncan
from can_bridge.interfaces.slcan_usrcanet import open_slcan, open_usrcanet
from can_bridge.messages import Catalogue
from can_bridge.session import CanSession, describe, receives_own
from can_bridge.settings import Config, Device, Opened

DETECTED = ("pcan", "kvaser", "gs_usb")  # the other drivers warn that they are missing
BAUDRATE = 115200  # of a serial adapter; USB ones ignore it


class DatabaseUnreadable(LinkLost):
    """A database cannot be read: somebody has to mend the file."""

    retry = Retry(30.0, 300.0, firm=True)


@dataclass(frozen=True)
class _LinkConfig:
    """What a link is made from; a database that has changed makes another link."""

    settings: Opened
    digests: tuple[str, ...]


def link(settings: Opened) -> Link:
    """Return the link of one bus; an unreadable database costs this bus only."""
    address = parse_address(settings.address)
    files = settings.databases
    check(address)
    catalogue, problem = _load(settings, files)

    @contextlib.asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[CanSession]:
        known = catalogue
        if problem is not None:
            known, still = await asyncio.to_thread(_load, settings, files)
            if still is not None:
                raise DatabaseUnreadable(still)
            port.outlet(settings.name).describe(describe(settings, known))
        for each in known.problems:
            log.warning("%s: %s", settings.name, each)
        async with _open(address, settings) as bus:
            load = partial(database.load, settings, files)
            session = CanSession(settings, port, bus, known, load)
            try:
                await bus.health()
                yield session
            finally:
                session.leave()

    return Link(
        settings.name,
        settings.address,
        open_,
        {settings.name: describe(settings, catalogue)},
        config=_LinkConfig(settings, tuple(map(_digest, files))),
        finds="gct" in settings.protocols,
        problem=problem,
    )


def check(address: CanAddress) -> None:
    """Raise ConfigError for an interface without a driver."""
    known = {*OWN, *can.VALID_INTERFACES}
    if address.interface not in known:
        allowed = ", ".join(sorted(known))
        raise ConfigError(
            f"address: there is no interface {address.interface!r}; allowed: {allowed}"
        )


def _load(settings: Opened, files: Sequence[str]) -> tuple[Catalogue, str | None]:
    try:
        return database.load(settings, files), None
    except ConfigError as error:
        return Catalogue(), str(error)


def _digest(file: str) -> str:
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError as error:
        return str(error.strerror)


def _open(
    address: CanAddress, settings: Opened
) -> AbstractAsyncContextManager[CanInterface]:
    """Return the interface of an address, to be entered."""
    options: Mapping[str, Any] = {}
    if isinstance(settings, Device):
        options = settings.options
    match address.interface:
        case "socket":
            return socketcan.open_socketcan(
                address.channel,
                fd=settings.fd,
                own=receives_own(settings),
                buffer=settings.buffer,
                send_timeout=settings.send_timeout,
                bitrate=settings.rate,
                data_bitrate=settings.data_bitrate,
                listen_only=settings.listen_only,
                restarts=settings.restart is not None,
            )
        case "slcan":
            return open_slcan(
                address.channel,
                settings.name,
                bitrate=settings.rate,
                data_bitrate=settings.data_bitrate,
                listen_only=settings.listen_only,
                baudrate=int(options.get("baudrate", BAUDRATE)),
            )
        case "usrcanet":
            host, port = endpoint(address.channel)
            return open_usrcanet(host, port, settings.name, bitrate=settings.rate)
        case "loopback":
            return open_loopback()
        case interface:
            return open_pythoncan(
                interface,
                address.channel,
                bitrate=settings.rate,
                data_bitrate=settings.data_bitrate,
                fd=settings.fd,
                listen_only=settings.listen_only,
                send_timeout=settings.send_timeout,
                options=options,
            )


def links(config: Config) -> Iterable[Link]:
    """Return the links of a configuration."""
    return [link(device) for device in config.devices]


async def scan() -> Sequence[Found]:
    """Look for buses: interfaces of the kernel, and what python-can's drivers find."""
    found = []
    for name, up in socketcan.names():
        title = "SocketCAN" if up else "SocketCAN, down"
        found.append(Found(f"can::socket::{name}", "can", title))
    return found + await asyncio.to_thread(_detected)


def _detected() -> list[Found]:
    found = []
    for about in can.detect_available_configs(DETECTED):
        interface = about["interface"]
        title = about.get("device_name") or interface
        address = f"can::{interface}::{about['channel']}"
        found.append(Found(address, "can", str(title)))
    return found


SERVICE = Service("can", Config, links, Opened, link, scan)
