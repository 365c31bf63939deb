"""The client: devices of all bridges for a program.

Source: docs/contract.md.

It reads `status`, `info`, `state` and `event/change`, never the value topics, and knows
no protocol of any device.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import time as clock
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from busbar.client import files
from busbar.client.connection import ClientConnection
from busbar.client.described import items as elements
from busbar.client.device import NOTES_KEPT, DeviceView
from busbar.client.dispatcher import Dispatcher
from busbar.client.filters import is_any_of
from busbar.client.freshness import STEADY, UNCONFIRMED
from busbar.client.queues import LIMIT, Callback, Queue, Stream, run_callback
from busbar.client.subscriptions import Subscription, parse
from busbar.client.types import Blob, Event, Gap, NotConnected, Note, Presence, Snapshot
from busbar.contract.names import LEVEL
from busbar.contract.topics import matches
from busbar.errors import Offline, UnknownTarget
from busbar.mqtt.connection import connection
from busbar.mqtt.reconnect import Connect, SubscriptionForbidden
from busbar.net.endpoint import Endpoint

log = logging.getLogger("busbar.client")

BLOBS = 100  # blobs that wait for one subscriber: they are large
LOOK = 0.02  # s between two looks at whether all is settled
SETTLE = 2.0  # s for the newest snapshots, and for what a busy broker left out
# s for a sign of life of bridges whose clock differs: changes bring one in STEADY s
CONFIRM = STEADY + 1.5
UNKNOWN_WAIT = 1.0  # s for a device of which nothing has come

_default = {"url": ""}


def set_default(url: str) -> None:
    """Set the broker of clients that are made without one.

    Before it counts BUSBAR_URL, then mqtt://127.0.0.1.
    """
    Endpoint(url)
    _default["url"] = url


def default_url() -> str:
    """Return the broker of clients that are made without one."""
    return _default["url"] or os.environ.get("BUSBAR_URL") or "mqtt://127.0.0.1"


class Client:
    """One connection to a broker.

    Entered = it knows the devices in its scope, left = closed.

    broker: a url, or an Endpoint with credentials and TLS. devices: what to know,
    patterns of `bridge/device`; another device is added when it is asked for. timeout:
    s for the first connection. on_gap is called with each Gap. settled: entered =
    values are those of now, which takes a second where they change; False for who only
    commands. Raises NotConnected or Forbidden on entering, ConfigError for a wrong url.
    """

    def __init__(
        self,
        broker: str | Endpoint | None = None,
        *,
        root: str = "busbar",
        devices: Sequence[str] = ("+/+",),
        timeout: float = 10.0,
        patience: float = 60.0,
        on_gap: Callable[[Gap], None] | None = None,
        settled: bool = True,
        connect: Connect = connection,
    ) -> None:
        if not isinstance(broker, Endpoint):
            broker = Endpoint(broker or default_url())
        self.endpoint = broker
        self.root = root
        self.name = f"busbar-{secrets.token_hex(6)}"
        # of bridges' logs and `report`, newest first
        self.messages: deque[Note] = deque(maxlen=NOTES_KEPT)
        self.notes: dict[str, str] = {}  # your own annotations
        self.gaps = 0  # times that messages did not reach us
        self._patterns = list(devices)
        self._timeout = timeout
        self._patience = patience
        self._on_gap = on_gap
        self._connect = connect
        self._settled = settled

    async def __aenter__(self) -> Self:
        # with what this connection's dispatcher tracks
        self._devices: dict[str, DeviceView] = {}
        # what each subscriber needs of the broker besides the devices, and its end
        self._needs: dict[Queue[Any], tuple[list[str], Callable[[], None]]] = {}
        self._connection = ClientConnection(
            self.endpoint,
            self.root,
            self.name,
            self._patterns,
            self._connect,
            self._patience,
        )
        self._dispatcher = Dispatcher(
            self.root,
            on_gap=self._take_gap,
            on_note=self._take_note,
            on_lost=self._connection.calls.fail,
            on_message=self._connection.wake,
        )
        self._connection.on_forbidden = self._take_forbidden
        self._connection.start(self._dispatcher)
        try:
            await self._join()
        except TimeoutError:
            await self.close()
            problem = self._connection.problem
            raise NotConnected(
                f"no broker at {self.endpoint.shown}: {problem}"
            ) from None
        except BaseException:
            await self.close()
            raise
        return self

    async def _join(self) -> None:
        """Wait until devices are known.

        Raise TimeoutError without a connection, Forbidden where we may not subscribe.
        """
        connection = self._connection
        await connection.until(
            lambda: connection.linked or connection.forbidden is not None,
            self._timeout,
        )
        limit = self._timeout + self._patience
        await connection.until(
            lambda: connection.joined or connection.forbidden is not None, limit
        )
        if connection.forbidden is not None:
            raise connection.forbidden
        if self._settled:
            # what is not settled or confirmed then says so
            await _look(self._dispatcher.settled, SETTLE)
            await _look(self._dispatcher.confirmed, CONFIRM)

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect; series end, commands under way fail with NotConnected."""
        self._dispatcher.subscriptions.close()
        await self._connection.stop()

    async def wait_closed(self) -> None:
        """Return when the client is closed, by whomever."""
        await self._connection.wait_stopped()

    @property
    def incomplete(self) -> str:
        """What of the first picture had not come in time; empty if all had."""
        return self._connection.incomplete

    @property
    def retained(self) -> int:
        """How many retained messages the first picture was made of."""
        picture = self._connection.picture
        return picture.retained if picture is not None else 0

    @property
    def overtaken(self) -> int:
        """How many of them the broker sent behind later messages, as aedes does."""
        picture = self._connection.picture
        return picture.late if picture is not None else 0

    # Devices.

    def devices(self) -> Mapping[str, DeviceView]:
        """Return all devices that have a description, by name: a live view."""
        return _Described(self)

    def device(self, name: str) -> DeviceView:
        """Return a device by its name, `bridge/device`, known or not.

        Raise ValueError for what is no such name.
        """
        if name not in self._devices:
            levels = name.split("/")
            if len(levels) != 2 or not all(map(LEVEL.fullmatch, levels)):
                raise ValueError(
                    f"{name!r} is not the name of a device: <bridge>/<device>"
                )
            tracked = self._dispatcher.track(name)
            self._devices[name] = DeviceView(self, name, tracked)
            self._connection.follow(name)
        return self._devices[name]

    async def wait_online(self, *names: str, timeout: float | None = None) -> None:
        """Return when devices are usable and known, without names when connected.

        Raise TimeoutError.
        """
        devices = [self.device(name) for name in names]

        def usable() -> bool:
            joined = self._connection.joined
            return joined and all(device.stale is None for device in devices)

        await self._connection.until(usable, timeout)

    def watch_devices(self) -> Stream[Presence]:
        """Return how devices come, change their state and go.

        First those that are there.
        """
        queue: Queue[Presence] = Queue()
        for tracked in self._dispatcher.tracked.values():
            status = tracked.status
            if status is not None:
                queue.put(Presence(tracked.device, status.state, status.reason))
        return self.stream([("+/+", "status", "#")], queue, current=False)

    def snapshot(self, *, notes: bool = False) -> dict[str, Snapshot]:
        """Return a copy of all that is known of every device."""
        return {
            name: device.snapshot(notes=notes)
            for name, device in self.devices().items()
        }

    # Changes, events, blobs.

    def subscribe(
        self, pattern: str, callback: Callback, *, current: bool = True
    ) -> Callable[[], None]:
        """Call a function or coroutine for what fits `bridge/device/channel/path`.

        With + and #; returns what ends it. `state/...` brings Change (first what is
        known, unless not `current`), `event/...` Event, `blob/...` Blob, `status`
        Presence. A slow callback loses its own oldest items, counted and logged. Raises
        ValueError.
        """
        parsed = parse(pattern)
        limit = BLOBS if parsed[1] == "blob" else LIMIT
        queue: Queue[Any] = Queue(limit)
        leave = self._subscribe([parsed], queue, current)
        calling = run_callback(queue, callback, pattern)
        task = self._connection.spawn(calling, f"callback {pattern}")

        def end() -> None:
            queue.close()
            task.cancel()
            leave()

        return end

    def events(
        self, device: str = "+/+", name: str = "#", *, items: bool = False
    ) -> Stream[Event]:
        """Return events of a device (or pattern).

        items=True: each element of a batch is its own event.
        """
        queue: Queue[Event] = Queue()
        if items:
            queue = _Items(self._dispatcher)
        return self.stream([(device, "event", name)], queue, current=False)

    def blobs(self, device: str = "+/+", name: str = "#") -> Stream[Blob]:
        """Return binary data of a device (or pattern)."""
        return self.stream([(device, "blob", name)], Queue(BLOBS), current=False)

    def save_blobs(
        self,
        folder: str | Path,
        pattern: str = "+/+/blob/#",
        saved: Callable[[Blob, Path], None] | None = None,
    ) -> Callable[[], None]:
        """Write blobs into a folder that exists, each under its own name.

        Return what ends it.

        saved is called with each. Raises ValueError for another pattern,
        NotADirectoryError.
        """
        place = Path(folder)
        if not place.is_dir():
            raise NotADirectoryError(f"{folder} is no folder")
        if parse(pattern)[1] != "blob":
            raise ValueError(f"{pattern!r} is not <bridge>/<device>/blob/<name>")

        async def save(blob: Blob) -> None:
            path = await asyncio.to_thread(files.save, blob, place)
            if saved is not None:
                saved(blob, path)

        return self.subscribe(pattern, save)

    def report(
        self, text: str, level: str = "info", *, device: str | None = None
    ) -> None:
        """Add a line of your own to `messages`, and to those of a device."""
        number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
        log.log(number, "%s", text)
        self._take_note(Note(round(clock.time(), 6), level, text, device))

    # For devices and streams.

    async def run(
        self, name: str, target: str, fields: Mapping[str, Any], ends: float
    ) -> Any:
        """Send a command and return its result; it has to end by then (loop time).

        Raise its error, NotConnected, Offline, UnknownTarget.
        """
        self._connection.check()
        self.device(name)  # which follows it
        tracked = self._dispatcher.track(name)
        left = ends - asyncio.get_running_loop().time()
        if tracked.status is None:
            with contextlib.suppress(TimeoutError):
                await self._connection.until(
                    lambda: tracked.status is not None, min(UNKNOWN_WAIT, left)
                )
        if tracked.status is None and left > UNKNOWN_WAIT:
            known = ", ".join(sorted(self._dispatcher.described)) or "none"
            raise UnknownTarget(f"there is no device {name}; known are: {known}")
        fault = self._dispatcher.fault(name.partition("/")[0])
        # one that is not confirmed may live: the outcome will tell
        if fault is not None and fault.code != UNCONFIRMED:
            raise Offline(fault.message)
        return await self._connection.calls.run(name, target, fields, ends)

    def stream(
        self, wanted: Iterable[tuple[str, str, str]], queue: Queue[Any], current: bool
    ) -> Stream[Any]:
        """Return a series of what fits any of (device, channel, path) patterns."""
        return Stream(queue, self._subscribe(list(wanted), queue, current))

    def _subscribe(
        self, wanted: list[tuple[str, str, str]], queue: Queue[Any], current: bool
    ) -> Callable[[], None]:
        filters: list[str] = []
        for device, channel, path in wanted:
            filters += self._connection.needed(device, channel, path)
        self._connection.want(filters)
        if self._connection.stopped:
            queue.close()
        leaves = []
        for each in wanted:
            subscription = Subscription(*each, queue)
            leaves.append(self._dispatcher.subscriptions.add(subscription))
        if current:
            self._put_current(wanted, queue)
        released = False

        def leave() -> None:
            nonlocal released
            for leave_one in leaves:
                leave_one()
            self._needs.pop(queue, None)
            if not released:
                released = True
                self._connection.release(filters)

        if filters:
            self._needs[queue] = (filters, leave)
        return leave

    def _take_forbidden(self, error: SubscriptionForbidden) -> None:
        """End the subscribers that need what we may not subscribe to."""
        refused = error.detail["filters"]
        for queue, (filters, leave) in list(self._needs.items()):
            if is_any_of(refused, filters):
                queue.fail(error)
                leave()

    def _put_current(
        self, wanted: list[tuple[str, str, str]], queue: Queue[Any]
    ) -> None:
        for tracked in self._dispatcher.tracked.values():
            patterns = []
            for device, channel, path in wanted:
                if channel == "state" and matches(device, tracked.device):
                    patterns.append(path)
            for path in list(tracked.values):
                if any(matches(pattern, path) for pattern in patterns):
                    for change in tracked.current([path]):
                        queue.put(change)

    # Gaps and notes.

    def _take_gap(self, gap: Gap) -> None:
        self.gaps += 1
        missed = "some" if gap.missed is None else gap.missed
        log.warning("%s %s: missed %s: %s", gap.device, gap.channel, missed, gap.reason)
        if self._on_gap is None:
            return
        try:
            self._on_gap(gap)
        except Exception:
            # the callback is not ours; paho would lose its place in the stream
            log.exception("on_gap failed on %r", gap)

    def _take_note(self, note: Note) -> None:
        self.messages.appendleft(note)
        if note.device in self._devices:
            self._devices[note.device].messages.appendleft(note)


async def _look(condition: Callable[[], bool], limit: float) -> None:
    """Wait for a condition, `limit` s at most.

    Not after each message, of which there may be thousands.
    """
    for _ in range(round(limit / LOOK)):
        if condition():
            return
        await asyncio.sleep(LOOK)


class _Described(Mapping[str, DeviceView]):
    """The devices of a client that have a description."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getitem__(self, name: str) -> DeviceView:
        if name not in self._described:
            raise KeyError(name)
        return self._client.device(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._described))

    def __len__(self) -> int:
        return len(self._described)

    @property
    def _described(self) -> Mapping[str, Any]:
        return self._client._dispatcher.described  # noqa: SLF001  # one room


class _Items(Queue[Event]):
    """A queue that takes batches apart."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__()
        self._dispatcher = dispatcher

    def put(self, item: Event) -> None:
        info = self._dispatcher.track(item.device).info
        for fields in elements(info, item.name, item.fields):
            super().put(item._replace(fields=fields))
