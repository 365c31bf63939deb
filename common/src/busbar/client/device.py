"""One device, as a program uses it."""

import asyncio
import contextlib
import time as clock
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET

from busbar.client import lock
from busbar.client.calls import ending
from busbar.client.described import named, property_of
from busbar.client.device_view import UNKNOWN
from busbar.client.queues import Callback, Queue, Stream
from busbar.client.tracked_device import TrackedDevice
from busbar.client.types import (
    Blob,
    Change,
    Event,
    Note,
    Options,
    Reading,
    Snapshot,
    Stale,
)
from busbar.contract.messages import Fault, Info

if TYPE_CHECKING:
    from busbar.client.client import Client

ANSWER = 30.0  # s for the answer to a command whose description we do not have
NOTES_KEPT = 8


class DeviceView:
    """A device by its name, `bridge/device`; it may be absent, and come and go.

    Values are JSON values in the units of `info.properties`. A value is good or it says
    why not: `device[path]` raises Stale, `reading` marks.
    """

    def __init__(self, client: "Client", name: str, tracked: TrackedDevice) -> None:
        self.name = name
        # your own annotations by path; they stay in this program
        self.notes: dict[str, str] = {}
        self.messages: deque[Note] = deque(maxlen=NOTES_KEPT)  # newest first
        # s that a lock lasts without being renewed, unless `lock` says otherwise
        self.lock_time = 10.0
        self._client = client
        self._tracked = tracked
        self._lease: str | None = None

    def __repr__(self) -> str:
        return f"<Device {self.name} {self.state}>"

    # What is known.

    @property
    def info(self) -> Info | None:
        """The description; None until it is known."""
        return self._tracked.info

    @property
    def state(self) -> str:
        """`connecting`, `online`, `offline`, `stopped`, or `unknown`."""
        status = self._tracked.status
        if status is None:
            return "unknown"
        return status.state

    @property
    def stale(self) -> Fault | None:
        """Why the device cannot be used or its values are old; None if all is well."""
        return self._tracked.why()

    @property
    def missed(self) -> int:
        """Messages with changes that never reached us."""
        return self._tracked.missed

    def __getitem__(self, path: str) -> Any:
        """Return the value of a property.

        Raise Stale when it is not to be trusted, KeyError if unknown.
        """
        reading = self.reading(path)
        if reading.stale is not None:
            raise Stale(f"{self.name} {path}", reading.stale)
        return reading.value

    def __contains__(self, path: object) -> bool:
        """Return whether a value of a property has come, good or stale."""
        return path in self._tracked.values

    def reading(self, path: str) -> Reading:
        """Return the newest value of a property, its time and why it is stale.

        Raise KeyError for an unknown path.
        """
        tracked = self._tracked
        stale = tracked.why(path)
        if path in tracked.values:
            return Reading(tracked.values[path], tracked.times.get(path), stale)
        info = tracked.info
        if info is None:
            return Reading(None, None, stale or UNKNOWN)
        name = named(info, path)
        if name is not None:
            raise KeyError(f"{path!r} of {self.name} is published as {name!r}")
        about = property_of(info, path)
        if about is None and path not in tracked.bad:
            raise KeyError(f"{self.name} has no property {path!r}")
        if about is not None and about.default is not UNSET and not info.truncated:
            return Reading(about.default, None, stale)
        return Reading(None, None, stale or UNKNOWN)

    def time(self, path: str) -> float | None:
        """Return when a value last changed (Unix s), None if unknown.

        Raise KeyError.
        """
        return self.reading(path).time

    def snapshot(self, *, notes: bool = False) -> Snapshot:
        """Return a copy of all that is known now, with your notes if asked for."""
        tracked = self._tracked
        shown: dict[str, str] = {}
        if notes:
            shown = dict(self.notes)
        return Snapshot(
            self.name,
            self.state,
            round(clock.time(), 6),
            dict(tracked.values),
            dict(tracked.times),
            dict(tracked.bad),
            stale=tracked.why(),
            info=tracked.info,
            notes=shown,
        )

    @property
    def locked(self) -> Mapping[str, Any] | None:
        """Who has locked the device: `{"owner", "until"}`, None if nobody."""
        return self._tracked.values.get("_lock")

    # Commands.

    async def set(
        self,
        path: str | Mapping[str, Any],
        value: Any = None,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        id: str | None = None,  # the contract's word
        lease: str | None = None,
    ) -> Any:
        """Write a property, or several given as a mapping.

        Returns what is known of the result, when the device has taken it. Raises what
        is in `busbar.errors`.

        timeout: s for all of it. deadline: the same as a time of the loop
        (`time.monotonic()`), which several commands can share. Without both a command
        that gets no outcome ends after all that it may take. ttl: s that it may wait to
        be started; wait: s for somebody else's lock; id: makes it safe to repeat.
        """
        target = "set"
        if isinstance(path, Mapping):
            fields = dict(path)
        else:
            target = f"set/{path}"
            fields = {"_value": value}
        options = Options(
            ttl=ttl, wait=wait, timeout=timeout, deadline=deadline, id=id, lease=lease
        )
        return await self._run(target, fields, ANSWER, options)

    async def call(
        self,
        command: str,
        arguments: Any = None,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        id: str | None = None,
        lease: str | None = None,
    ) -> Any:
        """Run a command and return its result.

        arguments: a mapping; or one bare value, if the command has exactly one required
        argument. Options and errors as for `set`.
        """
        patience = ANSWER
        if self.info is not None and command in self.info.commands:
            patience = self.info.commands[command].timeout
        if arguments is None:
            arguments = {}
        elif not isinstance(arguments, Mapping):
            arguments = {"_value": arguments}
        options = Options(
            ttl=ttl, wait=wait, timeout=timeout, deadline=deadline, id=id, lease=lease
        )
        return await self._run(f"call/{command}", arguments, patience, options)

    async def _run(
        self, target: str, fields: Mapping[str, Any], patience: float, options: Options
    ) -> Any:
        began = asyncio.get_running_loop().time()
        ends = ending(began, patience, options)
        timeout = options.get("timeout")
        if timeout is None and options.get("deadline") is not None:
            timeout = ends - began
        lease = options.get("lease")
        if lease is None:
            lease = self._lease
        metadata = {
            "_ttl": options.get("ttl"),
            "_wait": options.get("wait"),
            "_timeout": timeout,
            "_lease": lease or None,
            "_id": options.get("id"),
        }
        return await self._client.run(self.name, target, {**fields, **metadata}, ends)

    @contextlib.asynccontextmanager
    async def lock(
        self,
        *,
        ttl: float | None = None,
        owner: str = "",
        wait: float = 0.0,
        scope: Literal["device", "channel"] | None = None,
        polls: bool | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> AsyncIterator[str]:
        """Keep all others from commanding the device.

        Entered = it is ours, the value is the lease.

        ttl: s until it ends by itself when we are gone (default `lock_time`); it renews
        itself. Our commands carry the lease. timeout, deadline: for getting it. Raises
        Locked when somebody else has it (after `wait` s), LeaseLost when it could not
        be renewed.
        """
        given = {"owner": owner or self._client.name, "scope": scope, "polls": polls}
        given = {key: value for key, value in given.items() if value is not None}
        getting = Options(wait=wait, timeout=timeout, deadline=deadline, lease="")
        async with lock.held(self, ttl or self.lock_time, getting, given) as lease:
            self._lease = lease
            try:
                yield lease
            finally:
                if self._lease == lease:
                    self._lease = None

    # Changes, events, blobs.

    def watch(
        self, *paths: str, latest: bool = False, current: bool = True
    ) -> Stream[Change]:
        """Return every transition of properties (patterns; default all) in order.

        First, if `current`, what is known.

        latest=True: only the newest of each property, for readers that may be slow.
        """
        queue: Queue[Change] = Queue()
        if latest:
            queue = Queue(latest=_path)
        wanted = [(self.name, "state", path) for path in paths or ("#",)]
        return self._client.stream(wanted, queue, current)

    def subscribe(
        self, path: str, callback: Callback, *, current: bool = True
    ) -> Callable[[], None]:
        """Call with a Change for every transition of a property (or pattern).

        Return what ends it.
        """
        return self._client.subscribe(
            f"{self.name}/state/{path}", callback, current=current
        )

    def events(self, name: str = "#", *, items: bool = False) -> Stream[Event]:
        """Return what happens at the device.

        items=True: each element of a batch is its own event.
        """
        return self._client.events(self.name, name, items=items)

    def blobs(self, name: str = "#") -> Stream[Blob]:
        """Return the device's binary data."""
        return self._client.blobs(self.name, name)

    async def wait_online(self, timeout: float | None = None) -> None:
        """Return when the device is usable and its values are known.

        Raise TimeoutError.
        """
        await self._client.wait_online(self.name, timeout=timeout)

    def report(self, text: str, level: str = "info") -> None:
        """Add a line of your own to `messages`."""
        self._client.report(text, level, device=self.name)


def _path(change: Change) -> str:
    return change.path
