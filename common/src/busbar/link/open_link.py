"""One link at run time: its devices, its session, its arbiter and leases.

The Port that a session is given.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Set
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
from busbar.link.locks import Leases
from busbar.link.session import Link, Outlet, Session, supervise
from busbar.net.two_way_event import Flag
from busbar.publish.device import Bus, Device

log = logging.getLogger("busbar.channel")

DISCONNECTED = Fault(Offline.code, "disconnected by command; `connect` brings it back")
IDLE = Fault("idle", "the link is closed while nobody uses it; a command opens it")
NOT_YET = Fault(Offline.code, "the link has not been up yet")
UNSEEN = Offline("the link is back, the device has not appeared again")
# s after which a device that has not appeared again is gone. Source: docs/contract.md,
# 5.4
SETTLED = 30.0
FOUND_LIMIT = 1000  # devices of one link


class LockState(msgspec.Struct, frozen=True):
    """Value of `state/_lock` while there is one.

    Its owner, its end (Unix s), what it covers.
    """

    owner: str
    until: float
    scope: Literal["device", "channel"]


LOCK = Property("_lock", LockState | None, title="Lock: owner and end, or null")


class Home(Protocol):
    """The bridge, as a channel sees it."""

    def find(self, device: str) -> "tuple[Device, Channel] | None": ...

    def ended(self, channel: "Channel") -> None:
        """A session is over: commands that run on it fail."""

    def busy(self, channel: "Channel") -> bool:
        """True while a command runs on it."""

    def arrived(self, device: Device) -> None:
        """A device has appeared."""

    def left(self, device: Device) -> None:
        """A device has vanished."""


class Channel:
    """Runs one link; `builtins` are the commands that all its devices have."""

    def __init__(
        self, bus: Bus, link: Link, builtins: Mapping[str, Command], home: Home
    ) -> None:
        self.link = link
        self.arbiter = Arbiter()
        self.leases = Leases(self._leases_changed)
        self.devices: dict[str, Device] = {}
        self.session: Session | None = None
        self._bus, self._builtins, self._home = bus, builtins, home
        self._state: Literal["connecting", "online", "offline"] = "offline"
        self._reason: Fault | None = NOT_YET
        self._changed = asyncio.Event()
        self._leave = asyncio.Event()
        self._asked = asyncio.Event()
        self._used = 0.0
        self._firm = False  # waiting, and not for a command
        # devices that have appeared since the link came up
        self._seen: set[str] = set()
        self._returned: set[str] = set()  # devices to be read anew
        self._news = 0.0  # loop time when one last did, or the link came up
        for name, description in link.devices.items():
            self._add(name, description)

    async def run(self) -> None:
        """Keep the link open as long as the task lives."""
        await supervise(self)

    def outlet(self, device: str) -> Device:
        return self.devices[device]

    def poll(self) -> AbstractAsyncContextManager[None]:
        return self.arbiter.poll()

    def locked(self, device: str) -> bool:
        return self.leases.on(device) is not None

    def connecting(self) -> None:
        self._set("connecting", None)

    @property
    def broker(self) -> Flag:
        return self._bus.broker

    def appear(self, device: str, description: Description) -> Outlet:
        if device not in self.devices:
            self._adopt(device, description)
        self._seen.add(device)
        self._news = asyncio.get_running_loop().time()
        found = self.devices[device]
        found.describe(description)
        if self._state == "online":
            found.online()
        return found

    def vanish(self, device: str) -> None:
        if device not in self.devices and device in self._seen:
            self._seen.discard(device)  # its name has been given up
            return
        if device not in self._found():
            raise UnknownTarget(f"no device {device!r} has appeared here")
        self._seen.discard(device)
        self._returned.discard(device)
        self._home.left(self.devices.pop(device))
        self._notify()

    def give_up(self, names: Set[str]) -> None:
        """Devices that were found lose their names to those of the configuration."""
        for name in self._found() & names:
            self.vanish(name)
            self._seen.add(name)  # its session does not know yet

    def settled(self) -> bool:
        """True once the link has been up for a while without a new device.

        What has not appeared again is gone.
        """
        now = asyncio.get_running_loop().time()
        if (
            self.session is None
            or self._state != "online"
            or now - self._news < SETTLED
        ):
            return False
        for name in self._found() - self._seen:
            self.vanish(name)
        return True

    async def ready(self, device: Device) -> Session:
        """Return the session once it can serve; raise Offline.

        The caller limits the wait.
        """
        if device.refused:
            raise Offline(device.refused.message)  # nobody opens the link for it
        self.used()
        if self.session is None:
            if not self._firm:
                self._asked.set()
            if self.link.on_demand and self._state == "offline":
                self._set("connecting", None)
        while True:
            if device.refused or device.silent:
                raise Offline((device.refused or device.silent or NOT_YET).message)
            if self.session is not None:
                return self.session
            if self._state == "offline":
                raise Offline(
                    self._reason.message if self._reason else "the link is down"
                )
            self._changed.clear()
            await self._changed.wait()

    def used(self) -> None:
        """Somebody uses the link: it is not idle."""
        self._used = asyncio.get_running_loop().time()

    def connect(self, device: Device) -> None:
        """Bring a disconnected device back, or try a lost link at once."""
        if device.refused is not None and self.session is not None:
            # others have kept the link open: its values are old by now
            self._returned.add(device.name)
        device.refused = None
        self._apply(device)
        if self.session is None or self._leave.is_set():
            self._asked.set()
        self._notify()

    def disconnect(self, device: Device) -> None:
        """Keep a device offline; the link closes when no device wants it."""
        device.refused = DISCONNECTED
        self._returned.discard(device.name)
        self._apply(device)
        if self._unwanted():
            self._leave.set()
        self._notify()

    def reconnect(self) -> None:
        """Close the link and open it anew, for all its devices."""
        self._asked.set()
        self._leave.set()

    async def wanted(self) -> None:
        self._hear(False)
        await self._until_wanted()
        self._hear(True)

    async def _until_wanted(self) -> None:
        if self._state == "online" and not self.link.on_demand:
            # it was closed on purpose and will be opened again
            self._set("connecting", None)
        if self._unwanted():
            # for devices that were found: nobody told them
            self._set("offline", DISCONNECTED)
            while self._unwanted():
                self._changed.clear()
                await self._changed.wait()
            self._set("connecting", None)
        if self.link.on_demand:
            if self._state != "offline" or self._reason is NOT_YET:
                self._set("online", IDLE)
            await self._asked.wait()
            self._set("connecting", None)
        self._leave.clear()

    async def pause(self, seconds: float, firm: bool = False) -> None:
        self._asked.clear()
        self._firm = firm
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._asked.wait()
        finally:
            self._firm = False

    async def served(self, session: Session) -> None:
        self.session = session
        self._asked.clear()
        self.used()
        self._news = self._used
        self._set("online", None)
        for name in self._found() - self._seen:
            self.devices[name].offline(UNSEEN)
        tasks = [
            asyncio.create_task(work, name=f"{self.link.name}-{name}")
            for name, work in self._work(session)
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                await each
            if tasks[0] in done:
                raise LinkLost("the session ended")
        finally:
            self.session = None
            self._seen.clear()
            self._returned.clear()
            self._home.ended(self)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def lost(self, fault: Fault, soon: bool = False) -> None:
        self._hear(False)
        self._seen.clear()
        self._set("connecting" if soon else "offline", fault)

    def _work(self, session: Session) -> list[tuple[str, Any]]:
        work: list[tuple[str, Any]] = [
            ("serve", session.serve()),
            ("leave", self._leave.wait()),
        ]
        work.append(("refresh", self._refresh(session)))
        return [*work, ("idle", self._idle())] if self.link.on_demand else work

    async def _refresh(self, session: Session) -> None:
        """Read devices anew that come back while the link is up; raise LinkLost."""
        while True:
            while not self._returned:
                self._changed.clear()
                await self._changed.wait()
            async with self.arbiter.poll():
                if self._returned:  # it may have gone while we waited
                    await self._read_anew(session, self._returned.pop())

    async def _read_anew(self, session: Session, device: str) -> None:
        try:
            await session.refresh(device)
        except LinkLost:
            raise
        except BusbarError as error:
            log.info("%s is back and does not answer: %s", device, error)

    async def _idle(self) -> None:
        """Return when nobody has used the link for `idle_close` seconds."""
        loop = asyncio.get_running_loop()
        while (left := self._used + self.link.idle_close - loop.time()) > 0:
            await asyncio.sleep(left)
            if self._home.busy(self):
                self.used()

    def _set(
        self, state: Literal["connecting", "online", "offline"], reason: Fault | None
    ) -> None:
        self._state, self._reason = state, reason
        for device in self.devices.values():
            if state != "online":
                device.silent = None
            self._apply(device)
        self._notify()

    def _hear(self, open_: bool) -> None:
        """Take values only while the link is open, or being opened."""
        for device in self.devices.values():
            device.deaf = not open_

    def _apply(self, device: Device) -> None:
        fault = device.refused or device.silent
        device.set_status("offline" if fault else self._state, fault or self._reason)

    def _notify(self) -> None:
        self._changed.set()

    def _unwanted(self) -> bool:
        """True if no configured device wants the link."""
        return bool(self.link.devices) and all(
            self.devices[name].refused for name in self.link.devices
        )

    def _found(self) -> set[str]:
        return self.devices.keys() - self.link.devices.keys()

    def _adopt(self, name: str, description: Description) -> None:
        if not LEVEL.fullmatch(name):
            raise BadRequest(
                f"{name!r:.100} cannot be a device: 1 to 64 of the characters A-Z "
                f"a-z "
                f"0-9 _ -"
            )
        if self._home.find(name) is not None:
            raise BadRequest(f"there is a device {name!r} on this bridge already")
        if len(self.devices) >= FOUND_LIMIT:
            raise TooLarge(
                (f"there are {FOUND_LIMIT} devices on this link already"),
                limit=FOUND_LIMIT,
            )
        self._add(name, description)
        self._home.arrived(self.devices[name])

    def _add(self, name: str, description: Description) -> None:
        device = Device(self._bus, name, description, self._complete)
        device.reason = self._reason
        device.values(self._lock(name))
        self.devices[name] = device
        self._apply(device)

    def _complete(self, description: Description) -> Description:
        return description.with_(
            properties={**description.properties, LOCK.path: LOCK},
            # a device may have a `connect` of its own
            commands={**self._builtins, **description.commands},
            address=description.address or self.link.address,
            channel=self.link.name if self.link.shared else None,
        )

    def _leases_changed(self) -> None:
        self.arbiter.pause_polls(self.leases.polls_paused)
        for name, device in self.devices.items():
            device.state.read(self._lock(name), self._bus.now())

    def _lock(self, device: str) -> dict[str, Any]:
        lease = self.leases.on(device)
        until = lease and round(self._bus.now() + self.leases.left(lease), 3)
        return {
            "_lock": lease
            and {"owner": lease.owner, "until": until, "scope": lease.scope}
        }
