"""The client: devices of all bridges, as a consumer wants them.

Source: docs/contract.md.

It reads `status`, `info`, `state` and `event/change`, never the leaves, and knows no
protocol of any device.
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
from busbar.client.connection import Line
from busbar.client.described import items as elements
from busbar.client.device import NOTES_KEPT, Device
from busbar.client.dispatcher import Inbox
from busbar.client.queues import LIMIT, Callback, Queue, Stream, run_callback
from busbar.client.subscriptions import Reader, parse
from busbar.client.types import Blob, Event, Gap, NotConnected, Note, Presence, Snapshot
from busbar.contract.names import LEVEL
from busbar.contract.topics import matches
from busbar.errors import Offline, UnknownTarget
from busbar.mqtt.connection import connection
from busbar.mqtt.reconnect import Connect
from busbar.net.endpoint import Endpoint

log = logging.getLogger("busbar.client")

BLOBS = 100  # blobs that wait for one reader: they are large
SETTLE = 2.0  # s for the newest snapshots, and for what a busy broker left out
UNKNOWN_WAIT = 1.0  # s for a device that nobody has heard of

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
    commands. Raises NotConnected on entering, ConfigError for a wrong url.
    """

    def __init__(
        self,
        broker: str | Endpoint | None = None,
        *,
        root: str = "busbar",
        devices: Sequence[str] = ("+/+",),
        timeout: float = 10.0,
        on_gap: Callable[[Gap], None] | None = None,
        settled: bool = True,
        connect: Connect = connection,
    ) -> None:
        self.endpoint = (
            broker
            if isinstance(broker, Endpoint)
            else Endpoint(broker or default_url())
        )
        self.root = root
        self.name = f"busbar-{secrets.token_hex(6)}"
        # of bridges' logs and `report`, newest first
        self.messages: deque[Note] = deque(maxlen=NOTES_KEPT)
        self.notes: dict[str, str] = {}  # your own annotations
        self.gaps = 0  # times that messages did not reach us
        self._patterns, self._timeout, self._on_gap, self._connect = (
            list(devices),
            timeout,
            on_gap,
            connect,
        )
        self._settled = settled

    async def __aenter__(self) -> Self:
        # with the pictures of this connection's inbox
        self._devices: dict[str, Device] = {}
        self._line = line = Line(
            self.endpoint, self.root, self.name, self._patterns, self._connect
        )
        self._inbox = Inbox(
            self.root, self._take_gap, self._take_note, line.calls.fail, line.beat
        )
        line.start(self._inbox)
        try:
            await line.until(lambda: line.joined, self._timeout)
            if self._settled:
                # what is not settled then says so
                with contextlib.suppress(TimeoutError):
                    await line.until(self._inbox.settled, SETTLE)
        except TimeoutError:
            await self.close()
            raise NotConnected(
                f"no broker at {self.endpoint.shown}: {line.problem}"
            ) from None
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect; series end, commands under way fail with NotConnected."""
        self._inbox.readers.close()
        await self._line.stop()

    async def wait_closed(self) -> None:
        """Return when the client is closed, by whomever."""
        await self._line.ended()

    # Devices.

    def devices(self) -> Mapping[str, Device]:
        """Return all devices that have a description, by name: a live view."""
        return _Known(self)

    def device(self, name: str) -> Device:
        """Return a device by its name, `bridge/device`, known or not.

        Raise ValueError for what is no such name.
        """
        if name not in self._devices:
            if len(name.split("/")) != 2 or not all(
                map(LEVEL.fullmatch, name.split("/"))
            ):
                raise ValueError(
                    f"{name!r} is not the name of a device: <bridge>/<device>"
                )
            self._devices[name] = Device(self, name, self._inbox.picture(name))
            self._line.follow(name)
        return self._devices[name]

    async def wait_online(self, *names: str, timeout: float | None = None) -> None:
        """Return when devices are usable and known, without names when we are connected; raise TimeoutError."""
        pictures = [self.device(name)._picture for name in names]  # noqa: SLF001  # the two are one room
        await self._line.until(
            lambda: self._line.joined and all(each.why() is None for each in pictures),
            timeout,
        )

    def watch_devices(self) -> Stream[Presence]:
        """Return how devices come, change their state and go.

        First those that are there.
        """
        queue: Queue[Presence] = Queue()
        for picture in self._inbox.pictures.values():
            if picture.status is not None:
                queue.put(
                    Presence(
                        picture.device, picture.status.state, picture.status.reason
                    )
                )
        return self.stream([("+/+", "status", "#")], queue, current=False)

    def snapshot(self, *, notes: bool = False) -> dict[str, Snapshot]:
        """Return a copy of all that is known of every device."""
        return {
            name: device.snapshot(notes=notes)
            for name, device in self.devices().items()
        }

    # News.

    def subscribe(
        self, pattern: str, callback: Callback, *, current: bool = True
    ) -> Callable[[], None]:
        """Call a function or coroutine for what fits `bridge/device/channel/path` (+ and #); return what ends it.

        `state/...` brings Change (first what is known, unless not `current`), `event/...` Event, `blob/...` Blob,
        `status` Presence. A slow callback loses its own oldest news, counted and logged. Raises ValueError.
        """
        parsed = parse(pattern)
        queue: Queue[Any] = Queue(BLOBS if parsed[1] == "blob" else LIMIT)
        leave = self._read([parsed], queue, current)
        task = self._line.spawn(
            run_callback(queue, callback, pattern), f"callback {pattern}"
        )

        def end() -> None:
            queue.close()
            task.cancel()
            leave()

        return end

    def events(
        self, device: str = "+/+", name: str = "#", *, items: bool = False
    ) -> Stream[Event]:
        """Return events of a device (or pattern).

        items=True: each element of a batch is an event of its own.
        """
        queue: Queue[Event] = _Items(self._inbox) if items else Queue()
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
        """Write blobs into a folder that exists, each under a name of its own.

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
        log.log(
            logging.getLevelNamesMapping().get(level.upper(), logging.INFO), "%s", text
        )
        self._take_note(Note(round(clock.time(), 6), level, text, device))

    # What devices and streams ask.

    async def run(
        self, name: str, target: str, fields: Mapping[str, Any], patience: float
    ) -> Any:
        """Send a command and return its result.

        Raise its error, NotConnected, Offline, UnknownTarget.
        """
        self._line.check()
        picture = self.device(name)._picture  # noqa: SLF001
        if picture.status is None:
            with contextlib.suppress(TimeoutError):
                await self._line.until(lambda: picture.status is not None, UNKNOWN_WAIT)
        if picture.status is None:
            known = ", ".join(sorted(self._inbox.known)) or "none"
            raise UnknownTarget(f"there is no device {name}; known are: {known}")
        fault = self._inbox.fault(name.partition("/")[0])
        if fault is not None:
            raise Offline(fault.message)
        return await self._line.calls.run(name, target, fields, patience)

    def stream(
        self, wanted: Iterable[tuple[str, str, str]], queue: Queue[Any], current: bool
    ) -> Stream[Any]:
        """Return a series of what fits any of (device, channel, path) patterns."""
        return Stream(queue, self._read(list(wanted), queue, current))

    def _read(
        self, wanted: list[tuple[str, str, str]], queue: Queue[Any], current: bool
    ) -> Callable[[], None]:
        filters = [each for one in wanted for each in self._line.needed(*one)]
        self._line.want(filters)
        if self._line.stopped:
            queue.close()
        leaves = [self._inbox.readers.add(Reader(*each, queue)) for each in wanted]
        if current:
            self._put_current(wanted, queue)
        done = False

        def leave() -> None:
            nonlocal done
            for each in leaves:
                each()
            if not done:
                done = True
                self._line.release(filters)

        return leave

    def _put_current(
        self, wanted: list[tuple[str, str, str]], queue: Queue[Any]
    ) -> None:
        for picture in self._inbox.pictures.values():
            paths = [
                path
                for device, channel, path in wanted
                if channel == "state" and matches(device, picture.device)
            ]
            known = [
                path
                for path in picture.values
                if any(matches(pattern, path) for pattern in paths)
            ]
            for change in picture.current(known):
                queue.put(change)

    # Small change.

    def _take_gap(self, gap: Gap) -> None:
        self.gaps += 1
        missed = "some" if gap.missed is None else gap.missed
        log.warning("%s %s: missed %s: %s", gap.device, gap.channel, missed, gap.reason)
        try:
            if self._on_gap is not None:
                self._on_gap(gap)
        except Exception:
            # the callback is not ours; paho would lose its place in the stream
            log.exception("on_gap failed on %r", gap)

    def _take_note(self, note: Note) -> None:
        self.messages.appendleft(note)
        if note.device in self._devices:
            self._devices[note.device].messages.appendleft(note)


class _Known(Mapping[str, Device]):
    """The devices of a client that have a description."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getitem__(self, name: str) -> Device:
        if name not in self._client._inbox.known:  # noqa: SLF001
            raise KeyError(name)
        return self._client.device(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._client._inbox.known))  # noqa: SLF001

    def __len__(self) -> int:
        return len(self._client._inbox.known)  # noqa: SLF001


class _Items(Queue[Event]):
    """A queue that takes batches apart."""

    def __init__(self, inbox: Inbox) -> None:
        super().__init__()
        self._inbox = inbox

    def put(self, item: Event) -> None:
        for fields in elements(
            self._inbox.picture(item.device).info, item.name, item.fields
        ):
            super().put(item._replace(fields=fields))
