"""One link at run time: its devices, its session, its arbiter and its locks.

The Port that a session gets. Where the link is, is the table of `availability`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Mapping, Set
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

import msgspec

from busbar.contract.describe import Command, Description, Property
from busbar.contract.messages import Fault
from busbar.contract.names import LEVEL
from busbar.errors import (
    BadRequest,
    BusbarError,
    LinkLost,
    Offline,
    TooLarge,
    UnknownTarget,
)
from busbar.link.arbiter import Arbiter
from busbar.link.availability import (
    DISCONNECTED_BY_COMMAND,
    Availability,
    Happened,
    of_device,
    step,
)
from busbar.link.found_devices import FoundDevices
from busbar.link.locks import Lease, Locks
from busbar.link.session import Link, Outlet, Session, supervise
from busbar.net.two_way_event import TwoWayEvent
from busbar.publish.device import BridgeContext, DevicePublisher

log = logging.getLogger("busbar.channel")

UNSEEN = Offline("the link is back, the device has not appeared again")
FOUND_LIMIT = 1000  # devices of one link


class LockState(msgspec.Struct, frozen=True):
    """Value of `state/_lock` while there is one.

    Its owner, its end (Unix s), what it covers.
    """

    owner: str
    until: float
    scope: Literal["device", "channel"]


LOCK = Property("_lock", LockState | None, title="Lock: owner and end, or null")


class LinkHost(Protocol):
    """The bridge, as a link sees it."""

    def has_device(self, device: str) -> bool:
        """Return whether a name is taken."""

    def is_busy(self, link: "OpenLink") -> bool:
        """Return whether a command runs on a link."""

    def on_session_ended(self, link: "OpenLink") -> None:
        """Fail the commands that run on a session that is over."""

    def on_device_added(self, device: DevicePublisher, link: "OpenLink") -> None:
        """Route commands to a new device of a link."""

    def on_device_appeared(self, device: DevicePublisher) -> None:
        """Announce a device that its link has found."""

    def on_device_vanished(self, device: DevicePublisher) -> None:
        """Clear a device that is no more."""


class OpenLink:
    """Runs one link; `builtins` are the commands that all its devices have."""

    def __init__(
        self,
        context: BridgeContext,
        link: Link,
        builtins: Mapping[str, Command],
        host: LinkHost,
    ) -> None:
        self.link = link
        self.arbiter = Arbiter()
        self.locks = Locks(self._on_locks_changed)
        self.devices: dict[str, DevicePublisher] = {}
        self.session: Session | None = None
        self._context = context
        self._builtins = builtins
        self._host = host
        self._availability = Availability()
        self._found = FoundDevices()
        self._stale: set[str] = set()  # connected again by command: to be read again
        self._changed = asyncio.Event()
        self._close_requested = asyncio.Event()
        self._open_requested = asyncio.Event()
        self._waits_for_connect = False  # a command does not cut the pause short
        self._used = 0.0  # loop time
        for name, description in link.devices.items():
            self._add(name, description)

    async def run(self) -> None:
        """Keep the link open as long as the task lives."""
        await supervise(self)

    # The Port of its session.

    def outlet(self, device: str) -> DevicePublisher:
        return self.devices[device]

    def poll(self) -> AbstractAsyncContextManager[None]:
        return self.arbiter.poll()

    def locked(self, device: str) -> bool:
        return self.locks.on(device) is not None

    def connecting(self) -> None:
        self._step(Happened.CONVERSING)

    @property
    def broker(self) -> TwoWayEvent:
        return self._context.broker

    def appear(self, device: str, description: Description) -> Outlet:
        if device not in self.devices:
            self._adopt(device, description)
        self._found.add(device, asyncio.get_running_loop().time())
        found = self.devices[device]
        found.describe(description)
        if self._availability.serves:
            found.online()
        return found

    def vanish(self, device: str) -> None:
        if device not in self.devices and device in self._found:
            self._found.discard(device)  # its name has been given up
            return
        if device not in self._found_names():
            raise UnknownTarget(f"no device {device!r} has appeared here")
        self._found.discard(device)
        self._stale.discard(device)
        self._host.on_device_vanished(self.devices.pop(device))
        self._notify()

    # What the bridge asks of it.

    def give_up(self, names: Set[str]) -> None:
        """Take their names from found devices: the configuration wants them."""
        for name in self._found_names() & names:
            self.vanish(name)
            self._found.keep(name)

    def remove_missing(self) -> bool:
        """Remove found devices that did not appear again in time.

        Return whether those that are missing now have been given their time.
        """
        now = asyncio.get_running_loop().time()
        serves = self.session is not None and self._availability.serves
        if not serves or not self._found.is_quiet(now):
            return False
        for name in self._found.missing(self._found_names()):
            self.vanish(name)
        return True

    async def ready(self, device: DevicePublisher) -> Session:
        """Return the session once it can serve; raise Offline.

        The caller limits the wait.
        """
        if device.refused:
            raise Offline(device.refused.message)  # no command opens the link for it
        self.touch()
        if self.session is None:
            self._request_open()
        while True:
            trouble = device.refused or device.silent
            if trouble is not None:
                raise Offline(trouble.message)
            if self.session is not None:
                return self.session
            if self._availability.shown == "offline":
                raise Offline(self._why_offline())
            self._changed.clear()
            await self._changed.wait()

    def touch(self) -> None:
        """Note that the link is in use."""
        self._used = asyncio.get_running_loop().time()

    def connect(self, device: DevicePublisher) -> None:
        """Bring a disconnected device back, or try a lost link at once."""
        if device.refused is not None and self.session is not None:
            # others have kept the link open: its values are old by now
            self._stale.add(device.name)
        device.refused = None
        self._show(device)
        if self.session is None or self._close_requested.is_set():
            self._open_requested.set()
        self._notify()

    def disconnect(self, device: DevicePublisher) -> None:
        """Keep a device offline; the link closes when no device wants it."""
        device.refused = DISCONNECTED_BY_COMMAND
        self._stale.discard(device.name)
        self._show(device)
        if self._is_unwanted():
            self._close_requested.set()
        self._notify()

    def reconnect(self) -> None:
        """Close the link and open it again, for all its devices."""
        self._open_requested.set()
        self._close_requested.set()

    # What the reconnect loop asks of it: session.Keeper.

    async def until_wanted(self) -> None:
        self._take_values(False)
        if not self.link.on_demand:
            self._step(Happened.CLOSED)
        await self._until_a_device_wants_it()
        if self.link.on_demand:
            self._step(Happened.RESTS)
            await self._open_requested.wait()
            self._step(Happened.ASKED)
        self._close_requested.clear()
        self._take_values(True)

    async def pause(self, seconds: float, firm: bool = False) -> None:
        self._open_requested.clear()
        self._waits_for_connect = firm
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._open_requested.wait()
        finally:
            self._waits_for_connect = False

    async def serve(self, session: Session) -> None:
        self._on_session(session)
        tasks = self._start(session)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                await each
            if tasks[0] in done:
                raise LinkLost("the session ended")
        finally:
            self.session = None
            self._found.on_link_down()
            self._stale.clear()
            self._host.on_session_ended(self)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def on_lost(self, fault: Fault, soon: bool = False) -> None:
        self._take_values(False)
        self._found.on_link_down()
        self._step(Happened.BROKE_BRIEFLY if soon else Happened.BROKE, fault)

    async def _until_a_device_wants_it(self) -> None:
        if not self._is_unwanted():
            return
        self._step(Happened.UNWANTED)
        while self._is_unwanted():
            self._changed.clear()
            await self._changed.wait()
        self._step(Happened.WANTED)

    def _request_open(self) -> None:
        if not self._waits_for_connect:
            self._open_requested.set()
        if self.link.on_demand and self._availability.shown == "offline":
            self._step(Happened.ASKED)

    def _why_offline(self) -> str:
        reason = self._availability.reason
        return reason.message if reason else "the link is down"

    def _on_session(self, session: Session) -> None:
        self.session = session
        self._open_requested.clear()
        self.touch()
        self._found.on_link_up(self._used)
        self._step(Happened.SERVES)
        for name in self._found.missing(self._found_names()):
            self.devices[name].offline(UNSEEN)

    def _start(self, session: Session) -> list[asyncio.Task[Any]]:
        """Start what runs while a session is open; it ends with the first of them."""
        work: dict[str, Coroutine[Any, Any, Any]] = {
            "serve": session.serve(),
            "close": self._close_requested.wait(),
            "refresh": self._refresh(session),
        }
        if self.link.on_demand:
            work["idle"] = self._until_idle()
        tasks = []
        for name, each in work.items():
            tasks.append(asyncio.create_task(each, name=f"{self.link.name}-{name}"))
        return tasks

    async def _refresh(self, session: Session) -> None:
        """Read devices again that come back while the link is up; raise LinkLost."""
        while True:
            while not self._stale:
                self._changed.clear()
                await self._changed.wait()
            async with self.arbiter.poll():
                if self._stale:  # it may have gone while we waited
                    await self._refresh_device(session, self._stale.pop())

    async def _refresh_device(self, session: Session, device: str) -> None:
        try:
            await session.refresh(device)
        except LinkLost:
            raise
        except BusbarError as error:
            log.info("%s is back and does not answer: %s", device, error)

    async def _until_idle(self) -> None:
        """Return when the link has not been used for `idle_close` seconds."""
        loop = asyncio.get_running_loop()
        while True:
            left = self._used + self.link.idle_close - loop.time()
            if left <= 0:
                return
            await asyncio.sleep(left)
            if self._host.is_busy(self):
                self.touch()

    def _step(self, happened: Happened, fault: Fault | None = None) -> None:
        after = step(self._availability, happened, fault)
        if after is self._availability:
            return
        self._availability = after
        for device in self.devices.values():
            if after.shown != "online":
                device.silent = None
            self._show(device)
        self._notify()

    def _take_values(self, open_: bool) -> None:
        """Take values only while the link is open or being opened."""
        for device in self.devices.values():
            device.link_closed = not open_

    def _show(self, device: DevicePublisher) -> None:
        status, reason = of_device(self._availability, device.refused, device.silent)
        device.set_status(status, reason)

    def _notify(self) -> None:
        self._changed.set()

    def _is_unwanted(self) -> bool:
        """Return whether no configured device wants the link."""
        configured = self.link.devices
        return bool(configured) and all(self.devices[n].refused for n in configured)

    def _found_names(self) -> set[str]:
        return self.devices.keys() - self.link.devices.keys()

    def _adopt(self, name: str, description: Description) -> None:
        if not LEVEL.fullmatch(name):
            allowed = "1 to 64 of the characters A-Z a-z 0-9 _ -"
            raise BadRequest(f"{name!r:.100} cannot be a device: {allowed}")
        if self._host.has_device(name):
            raise BadRequest(f"there is a device {name!r} on this bridge already")
        if len(self.devices) >= FOUND_LIMIT:
            raise TooLarge(
                f"there are {FOUND_LIMIT} devices on this link already",
                limit=FOUND_LIMIT,
            )
        self._add(name, description)
        self._host.on_device_appeared(self.devices[name])

    def _add(self, name: str, description: Description) -> None:
        device = DevicePublisher(self._context, name, description, self._complete)
        device.reason = self._availability.reason
        device.values(self._lock_value(name))
        self.devices[name] = device
        self._host.on_device_added(device, self)
        self._show(device)

    def _complete(self, description: Description) -> Description:
        return description.with_(
            properties={**description.properties, LOCK.path: LOCK},
            # a device may have a `connect` of its own
            commands={**self._builtins, **description.commands},
            address=description.address or self.link.address,
            channel=self.link.name if self.link.shared else None,
        )

    def _on_locks_changed(self) -> None:
        self.arbiter.pause_polls(self.locks.polls_paused)
        for name, device in self.devices.items():
            device.state.read(self._lock_value(name), self._context.now())

    def _lock_value(self, device: str) -> dict[str, Any]:
        lease = self.locks.on(device)
        return {LOCK.path: None if lease is None else self._shown_lock(lease)}

    def _shown_lock(self, lease: Lease) -> dict[str, Any]:
        until = self._context.now() + self.locks.left(lease)
        return {"owner": lease.owner, "until": round(until, 3), "scope": lease.scope}
