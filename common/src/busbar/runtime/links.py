"""The links that a bridge runs.

Those of its configuration, and those that a command opened.
"""

import asyncio
import fnmatch
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from busbar.contract.describe import Command
from busbar.contract.names import check_level
from busbar.errors import BadRequest, ConfigError, Forbidden, UnknownTarget
from busbar.link.open_link import Channel, Home
from busbar.link.session import Link
from busbar.publish.device import Bus
from busbar.runtime.bridge_device import Found
from busbar.runtime.bridge_spec import Openable, Plan

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
    channel: Channel
    task: asyncio.Task[None] = field(repr=False)


class Links:
    """Starts and ends links.

    `builtins` are the commands of every device, `closed` is told which device goes.
    """

    def __init__(
        self,
        plan: Plan,
        bus: Bus,
        builtins: Mapping[str, Command],
        home: Home,
        closed: Callable[[str], None],
    ) -> None:
        self._plan, self._bus, self._builtins, self._home, self._closed = (
            plan,
            bus,
            builtins,
            home,
            closed,
        )
        self._running: dict[str, _Running] = {}
        self._opened: set[str] = set()  # by commands, not by the configuration
        self._reloading = asyncio.Lock()
        self._stopped = False

    @property
    def channels(self) -> Iterable[Channel]:
        return (running.channel for running in self._running.values())

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return [running.task for running in self._running.values()]

    def start(self) -> None:
        """Start the links of the plan that do not run."""
        for link in self._plan.links:
            if link.name not in self._running:
                self._start(link)

    async def stop(self) -> None:
        """End the sessions, for good; the devices stay on the bus."""
        self._stopped = True
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def reload(self, replan: Callable[[], Plan]) -> Mapping[str, Any]:
        """Take a changed configuration: restart only links that changed.

        A wrong one is not taken: BadRequest.
        """
        async with self._reloading:
            try:
                plan = await asyncio.to_thread(replan)  # a database may take a second
                self._check_same(plan)
            except ConfigError as error:
                log.error(
                    ("configuration not taken, running on with the old one: %s"), error
                )
                raise BadRequest(str(error)) from error
            return await self._take(plan)

    async def scan(self) -> Sequence[Found]:
        """Look for what could be connected.

        Raise UnknownTarget where that cannot be known.
        """
        if self._plan.scan is None:
            raise UnknownTarget(f"this bridge ({self._plan.kind}) cannot scan")
        return await self._plan.scan()

    async def open(self, settings: Openable) -> None:
        """Open a device that is not in the configuration.

        Raise BadRequest or Forbidden.
        """
        if self._plan.open is None:
            raise UnknownTarget(f"this bridge ({self._plan.kind}) cannot open devices")
        self._check_allowed(settings.address)
        try:
            check_level(settings.name, "device name")
            link = await asyncio.to_thread(self._plan.open, settings)
        except ConfigError as error:
            raise BadRequest(str(error)) from error
        async with self._reloading:  # which may want its name
            taken = [
                name
                for name in (link.name, *link.devices)
                if name in self._running or self._home.find(name)
            ]
            if taken:
                raise BadRequest(f"there is a device {taken[0]!r} already")
            self._opened.add(link.name)
            self._start(link)

    async def close(self, name: str) -> None:
        """Close the link of a device.

        Raise UnknownTarget, Forbidden, or BadRequest for one that came by itself.
        """
        for link, running in self._running.items():
            if name in running.channel.devices:
                self._check_allowed(running.channel.link.address)
                if name not in running.channel.link.devices:
                    raise BadRequest(
                        f"{name!r} was found by {link!r}: it comes and goes by itself"
                    )
                await self._end(link)
                return
        raise UnknownTarget(f"no device {name!r} to close")

    async def _take(self, plan: Plan) -> Mapping[str, Any]:
        wanted = {link.name: link for link in plan.links}
        devices = {device for link in plan.links for device in link.devices}
        stale = [
            name
            for name in self._running
            if self._is_stale(name, wanted.get(name), devices)
        ]
        try:
            await asyncio.gather(*(self._end(name) for name in stale))
        finally:  # cancelled or not, the links of the plan run
            for channel in self.channels:
                channel.give_up(devices)
            started = [name for name in wanted if name not in self._running]
            self._plan = plan
            self.start()
        log.info("configuration taken: stopped %s, started %s", stale, started)
        return {"stopped": stale, "started": started}

    def _is_stale(self, name: str, wanted: Link | None, devices: Set[str]) -> bool:
        """True if a link runs that is not wanted so.

        One that a command opened goes when its names are needed.
        """
        link = self._running[name].channel.link
        if name in self._opened:
            return wanted is not None or not devices.isdisjoint(link.devices)
        return not _same(link, wanted)

    def _start(self, link: Link) -> None:
        if self._stopped:
            return  # a reload that came too late
        channel = Channel(self._bus, link, self._builtins, self._home)
        task = asyncio.create_task(channel.run(), name=f"link-{link.name}")
        self._running[link.name] = _Running(channel, task)
        if self._bus.broker.is_set():
            for device in channel.devices.values():
                device.announce()

    async def _end(self, name: str) -> None:
        running = self._running.pop(name, None)
        if running is None:
            return  # closed by a command in this moment
        self._opened.discard(name)
        for device in running.channel.devices.values():
            self._closed(device.name)
            device.withdraw()  # before anybody can take the name
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)

    def _check_same(self, plan: Plan) -> None:
        for key in FIXED:
            if getattr(plan, key) != getattr(self._plan, key):
                raise ConfigError(
                    f"{key} of a running bridge cannot change; restart it"
                )

    def _check_allowed(self, address: str) -> None:
        if not any(
            fnmatch.fnmatchcase(address, pattern) for pattern in self._plan.allow_open
        ):
            allowed = ", ".join(self._plan.allow_open) or "none"
            raise Forbidden(
                f"address {address!r} is not among `bridge: {{allow_open}}`: {allowed}"
            )


def _same(running: Link, wanted: Link | None) -> bool:
    return (
        wanted is not None
        and wanted.config is not None
        and running.config == wanted.config
    )
