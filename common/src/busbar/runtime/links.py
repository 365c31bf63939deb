"""Links of a bridge: those of its configuration, and those that a command opened."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from busbar.config.address_patterns import AddressPattern
from busbar.contract.describe import Command
from busbar.contract.names import check_level
from busbar.errors import BadRequest, ConfigError, Forbidden, UnknownTarget
from busbar.link.open_link import LinkHost, OpenLink
from busbar.link.session import Link
from busbar.publish.device import BridgeContext
from busbar.runtime.bridge_device import Found
from busbar.runtime.bridge_spec import BridgeSpec, Openable

log = logging.getLogger("busbar.links")

FIXED = (
    "name",
    "root",
    "endpoint",
    "leaves",
    "allow_shutdown",
    "max_command",
    "max_message",
    "folder",
    "blobs_apart",
)


@dataclass
class _Running:
    link: OpenLink
    task: asyncio.Task[None] = field(repr=False)


class Links:
    """Starts and ends links; `builtins` are the commands of every device."""

    def __init__(
        self,
        spec: BridgeSpec,
        context: BridgeContext,
        builtins: Mapping[str, Command],
        host: LinkHost,
    ) -> None:
        self._spec = spec
        self._context = context
        self._builtins = builtins
        self._host = host
        self._running: dict[str, _Running] = {}
        self._opened: set[str] = set()  # by commands, not by the configuration
        self._reloading = asyncio.Lock()
        self._stopped = False

    @property
    def open_links(self) -> Iterable[OpenLink]:
        """The links that run, in the order of their start."""
        return (running.link for running in self._running.values())

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return [running.task for running in self._running.values()]

    def start(self) -> None:
        """Start the links of the spec that do not run."""
        for link in self._spec.links:
            if link.name not in self._running:
                self._start(link)

    async def stop(self) -> None:
        """End the sessions, for good; the devices stay on the bus."""
        self._stopped = True
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def reload(self, read_spec: Callable[[], BridgeSpec]) -> Mapping[str, Any]:
        """Take a changed configuration: restart only links that changed.

        A wrong one is not taken: BadRequest.
        """
        async with self._reloading:
            try:
                # a database may take a second
                spec = await asyncio.to_thread(read_spec)
                self._check_same(spec)
            except ConfigError as error:
                text = "configuration not taken, running on with the old one: %s"
                log.error(text, error)
                raise BadRequest(str(error)) from error
            return await self._take(spec)

    async def scan(self) -> Sequence[Found]:
        """Look for what could be connected.

        Raise UnknownTarget where that cannot be known.
        """
        if self._spec.scan is None:
            raise UnknownTarget(f"this bridge ({self._spec.kind}) cannot scan")
        return await self._spec.scan()

    async def open(self, settings: Openable) -> None:
        """Open a device that is not in the configuration.

        Raise BadRequest or Forbidden.
        """
        if self._spec.open is None:
            raise UnknownTarget(f"this bridge ({self._spec.kind}) cannot open devices")
        self._check_allowed(settings.address)
        try:
            check_level(settings.name, "device name")
            link = await asyncio.to_thread(self._spec.open, settings)
        except ConfigError as error:
            raise BadRequest(str(error)) from error
        async with self._reloading:  # which may want its name
            for name in (link.name, *link.devices):
                if name in self._running or self._host.has_device(name):
                    raise BadRequest(f"there is a device {name!r} already")
            self._opened.add(link.name)
            self._start(link)

    async def close(self, name: str) -> None:
        """Close the link of a device.

        Raise UnknownTarget, Forbidden, or BadRequest for one that came by itself.
        """
        for link_name, running in self._running.items():
            if name not in running.link.devices:
                continue
            declared = running.link.link
            self._check_allowed(declared.address)
            if name not in declared.devices:
                found = f"{name!r} was found by {link_name!r}"
                raise BadRequest(f"{found}: it comes and goes by itself")
            await self._end(link_name)
            return
        raise UnknownTarget(f"no device {name!r} to close")

    async def _take(self, spec: BridgeSpec) -> Mapping[str, Any]:
        wanted = {link.name: link for link in spec.links}
        devices: set[str] = set()
        for link in spec.links:
            devices |= link.devices.keys()
        stale = [
            name for name in self._running if self._is_stale(name, wanted, devices)
        ]
        try:
            await asyncio.gather(*(self._end(name) for name in stale))
        finally:  # cancelled or not, the links of the spec run
            for open_link in self.open_links:
                open_link.give_up(devices)
            started = [name for name in wanted if name not in self._running]
            self._spec = spec
            self.start()
        log.info("configuration taken: stopped %s, started %s", stale, started)
        return {"stopped": stale, "started": started}

    def _is_stale(
        self, name: str, wanted: Mapping[str, Link], devices: Set[str]
    ) -> bool:
        """Return whether a link runs that is not wanted so.

        One that a command opened goes when its names are needed.
        """
        link = self._running[name].link.link
        if name in self._opened:
            return name in wanted or not devices.isdisjoint(link.devices)
        return not _is_same(link, wanted.get(name))

    def _start(self, link: Link) -> None:
        if self._stopped:
            return  # a reload that came too late
        open_link = OpenLink(self._context, link, self._builtins, self._host)
        task = asyncio.create_task(open_link.run(), name=f"link-{link.name}")
        self._running[link.name] = _Running(open_link, task)
        if self._context.broker.is_set():
            for device in open_link.devices.values():
                device.announce()

    async def _end(self, name: str) -> None:
        running = self._running.pop(name, None)
        if running is None:
            return  # closed by a command in this moment
        self._opened.discard(name)
        before = set(running.link.devices.values())
        for device in before:
            self._host.on_device_vanished(device)
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
        for device in set(running.link.devices.values()) - before:
            self._host.on_device_vanished(device)  # it appeared while the link ended

    def _check_same(self, spec: BridgeSpec) -> None:
        for key in FIXED:
            if getattr(spec, key) != getattr(self._spec, key):
                text = f"{key} of a running bridge cannot change; restart it"
                raise ConfigError(text)

    def _check_allowed(self, address: str) -> None:
        patterns = self._spec.allow_open
        if not any(AddressPattern(pattern).admits(address) for pattern in patterns):
            key = "`bridge: {allow_open}`"
            allowed = ", ".join(patterns) or "none"
            raise Forbidden(f"address {address!r} is not among {key}: {allowed}")


def _is_same(running: Link, wanted: Link | None) -> bool:
    if wanted is None or wanted.config is None:
        return False
    return running.config == wanted.config
