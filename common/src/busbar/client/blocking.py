"""The client without asyncio.

The same client on its own loop in a background thread.

with Client("mqtt://127.0.0.1") as bus:
    bus.device("bench/psu").set("output", True)
"""

import asyncio
import atexit
import contextlib
import inspect
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, Unpack

from busbar import client
from busbar.client import lock
from busbar.client.portal import Portal, Worker
from busbar.client.queues import Stream
from busbar.client.types import (
    Blob,
    Change,
    Event,
    Gap,
    LockOptions,
    Note,
    Options,
    Presence,
    Reading,
    Snapshot,
)
from busbar.contract.messages import Fault, Info
from busbar.net.endpoint import Endpoint

T = TypeVar("T")
# a plain function, or a queue
Target = Callable[[Any], Any] | queue.Queue[Any]

_END = object()


class Client:
    """The client of `busbar.client` for programs without asyncio.

    Entered or started = connected; arguments as there.

    Callbacks run one after the other on one worker thread, or with `threaded=True` each
    on its own.
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
    ) -> None:
        self._client = client.Client(
            broker,
            root=root,
            devices=devices,
            timeout=timeout,
            patience=patience,
            on_gap=on_gap,
            settled=settled,
        )
        self._portal: Portal | None = None
        self._workers: list[Worker] = []
        # the one of all callbacks that are not `threaded`
        self._shared: Worker | None = None
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Connect; raise NotConnected when there is no broker."""
        if self._portal is not None:
            raise RuntimeError("the client has been started")
        self._stopped.clear()
        self._workers.clear()
        self._shared = None  # those of an earlier start have ended
        self._portal = Portal()
        atexit.register(self.stop)
        try:
            self._portal.run(self._client.__aenter__())
        except BaseException:
            self.stop()
            raise
        return self

    def run_forever(self) -> None:
        """Run callbacks until `stop` is called, or Ctrl-C; start first if needed."""
        if self._portal is None:
            self.start()
        try:
            while not self._stopped.wait(1.0):
                pass
        except KeyboardInterrupt:
            self.stop()

    def stop(self) -> None:
        """Disconnect and end the threads, within a second or so.

        Harmless when called twice, and done at exit.
        """
        portal = self._portal
        self._portal = None
        self._stopped.set()
        if portal is None:
            return
        atexit.unregister(self.stop)
        with contextlib.suppress(TimeoutError):
            portal.run(self._client.close(), timeout=1.0)
        portal.stop()
        for worker in self._workers:
            worker.stop()

    close = stop

    def wait_closed(self) -> None:
        """Return when the client is stopped, by whomever."""
        self._stopped.wait()

    @property
    def portal(self) -> Portal:
        """The thread that does the work.

        Raise RuntimeError when the client is not started.
        """
        if self._portal is None:
            raise RuntimeError(
                "the client is not started: use `with Client(...) as bus:` or start()"
            )
        return self._portal

    @property
    def messages(self) -> deque[Note]:
        """The last lines for people, newest first."""
        return self._client.messages

    @property
    def notes(self) -> dict[str, str]:
        """Your own annotations."""
        return self._client.notes

    @property
    def gaps(self) -> int:
        """How often messages did not reach us."""
        return self._client.gaps

    def devices(self) -> dict[str, "DeviceView"]:
        """Return all devices that have a description now, by name."""
        known = self.portal.call(lambda: dict(self._client.devices()))
        return {name: DeviceView(self, device) for name, device in known.items()}

    def device(self, name: str) -> "DeviceView":
        """Return a device by its name, `bridge/device`, known or not.

        Raise ValueError for what is no such name.
        """
        return DeviceView(self, self.portal.call(self._client.device, name))

    def wait_online(self, *names: str, timeout: float | None = None) -> None:
        """Return when devices are usable and known; raise TimeoutError."""
        self.portal.run(self._client.wait_online(*names, timeout=timeout))

    def watch_devices(self) -> "Series[Presence]":
        """Return how devices come, change their state and go.

        First those that are there.
        """
        return Series(self.portal, self.portal.call(self._client.watch_devices))

    def snapshot(self, *, notes: bool = False) -> dict[str, Snapshot]:
        """Return a copy of all that is known of every device."""
        return self.portal.call(self._client.snapshot, notes=notes)

    def subscribe(
        self,
        pattern: str,
        reader: Target,
        *,
        current: bool = True,
        threaded: bool = False,
    ) -> Callable[[], None]:
        """Call a function, or fill a queue.Queue, with all that fits a pattern.

        The pattern is `bridge/device/channel/path`. Returns what ends it, raises
        ValueError for a wrong pattern. A full queue loses its oldest item.
        """
        take = self._taker(reader, threaded)
        end = self.portal.call(self._client.subscribe, pattern, take, current=current)
        return lambda: self.portal.call(end)

    def events(
        self, device: str = "+/+", name: str = "#", *, items: bool = False
    ) -> "Series[Event]":
        """Return events of a device (or pattern)."""
        return Series(
            self.portal,
            self.portal.call(self._client.events, device, name, items=items),
        )

    def blobs(self, device: str = "+/+", name: str = "#") -> "Series[Blob]":
        """Return binary data of a device (or pattern)."""
        return Series(self.portal, self.portal.call(self._client.blobs, device, name))

    def save_blobs(
        self,
        folder: str | Path,
        pattern: str = "+/+/blob/#",
        saved: Callable[[Blob, Path], None] | None = None,
    ) -> Callable[[], None]:
        """Write blobs into a folder that exists; return what ends it.

        Raises ValueError, NotADirectoryError.
        """
        end = self.portal.call(self._client.save_blobs, folder, pattern, saved)
        return lambda: self.portal.call(end)

    def report(
        self, text: str, level: str = "info", *, device: str | None = None
    ) -> None:
        """Add a line of your own to `messages`, and to those of a device."""
        self.portal.call(self._client.report, text, level, device=device)

    def _taker(self, reader: Target, threaded: bool) -> Callable[[Any], Any]:
        if isinstance(reader, queue.Queue):
            return lambda item: _put(reader, item)
        if inspect.iscoroutinefunction(reader):
            raise TypeError(
                f"{reader!r} is a coroutine function: without asyncio a callback is a "
                f"plain function"
            )
        if threaded:
            worker = self._start_worker()
        elif self._shared is None:
            worker = self._shared = self._start_worker()
        else:
            worker = self._shared
        return lambda item: worker.run(reader, item)

    def _start_worker(self) -> Worker:
        self._workers.append(Worker("busbar-callbacks"))
        return self._workers[-1]


class DeviceView:
    """A device of the blocking client.

    The same as `busbar.client.DeviceView`, where each method is described.
    """

    def __init__(self, bus: Client, device: client.DeviceView) -> None:
        self._bus = bus
        self._device = device
        self.name = device.name
        self.notes = device.notes
        self.messages = device.messages

    def __repr__(self) -> str:
        return repr(self._device)

    @property
    def info(self) -> Info | None:
        """The description; None until it is known."""
        return self._device.info

    @property
    def state(self) -> str:
        """`connecting`, `online`, `offline`, `stopped`, or `unknown`."""
        return self._device.state

    @property
    def stale(self) -> Fault | None:
        """None when the device is usable, else why not."""
        return self._device.stale

    @property
    def missed(self) -> int:
        """Messages with changes that never reached us."""
        return self._device.missed

    @property
    def locked(self) -> Mapping[str, Any] | None:
        """Who has locked the device, None if nobody."""
        return self._device.locked

    @property
    def lock_time(self) -> float:
        """Seconds that a lock lasts without being renewed."""
        return self._device.lock_time

    @lock_time.setter
    def lock_time(self, seconds: float) -> None:
        self._device.lock_time = seconds

    def __getitem__(self, path: str) -> Any:
        """Return the value of a property; raise Stale, KeyError."""
        return self._bus.portal.call(self._device.__getitem__, path)

    def reading(self, path: str) -> Reading:
        """Return the newest value of a property, its time and why it is stale.

        Raise KeyError.
        """
        return self._bus.portal.call(self._device.reading, path)

    def time(self, path: str) -> float | None:
        """Return when a value last changed (Unix s); raise KeyError."""
        return self._bus.portal.call(self._device.time, path)

    def snapshot(self, *, notes: bool = False) -> Snapshot:
        """Return a copy of all that is known now."""
        return self._bus.portal.call(self._device.snapshot, notes=notes)

    def set(
        self,
        path: str | Mapping[str, Any],
        value: Any = None,
        **options: Unpack[Options],
    ) -> Any:
        """Write a property, or several, and return what is known of the result.

        Options and errors as there.
        """
        return self._bus.portal.run(self._device.set(path, value, **options))

    def call(
        self, command: str, arguments: Any = None, **options: Unpack[Options]
    ) -> Any:
        """Run a command and return its result.

        Arguments, options and errors as there.
        """
        return self._bus.portal.run(self._device.call(command, arguments, **options))

    @contextlib.contextmanager
    def lock(self, **options: Unpack[LockOptions]) -> Iterator[str]:
        """Keep all others from commanding the device during the block.

        Options and errors as there.
        """
        portal = self._bus.portal
        token, leave = portal.run(lock.taken(self._device.lock(**options)))
        try:
            yield token
        finally:
            portal.run(leave())

    def watch(
        self, *paths: str, latest: bool = False, current: bool = True
    ) -> "Series[Change]":
        """Return every transition of properties in order."""
        portal = self._bus.portal
        stream = portal.call(self._device.watch, *paths, latest=latest, current=current)
        return Series(portal, stream)

    def subscribe(
        self, path: str, reader: Target, *, current: bool = True, threaded: bool = False
    ) -> Callable[[], None]:
        """Call a function, or fill a queue.Queue, with a Change for every transition.

        Return what ends it.
        """
        return self._bus.subscribe(
            f"{self.name}/state/{path}", reader, current=current, threaded=threaded
        )

    def events(self, name: str = "#", *, items: bool = False) -> "Series[Event]":
        """Return what happens at the device."""
        return self._bus.events(self.name, name, items=items)

    def blobs(self, name: str = "#") -> "Series[Blob]":
        """Return the device's binary data."""
        return self._bus.blobs(self.name, name)

    def wait_online(self, timeout: float | None = None) -> None:
        """Return when the device is usable and its values are known.

        Raise TimeoutError.
        """
        self._bus.wait_online(self.name, timeout=timeout)

    def report(self, text: str, level: str = "info") -> None:
        """Add a line of your own to `messages`."""
        self._bus.portal.call(self._device.report, text, level)


class Series(Generic[T]):
    """An endless series: `for item in series`, or `get`.

    It ends when it or the client is closed.
    """

    def __init__(self, portal: Portal, stream: Stream[T]) -> None:
        self._portal = portal
        self._stream = stream

    @property
    def dropped(self) -> int:
        """Items lost because they were not taken in time."""
        return self._stream.dropped

    def get(self, timeout: float | None = None) -> T:
        """Return the next item.

        Raise TimeoutError after `timeout` (s), EOFError at the end.
        """
        item = self._portal.run(self._next(timeout))
        if item is _END:
            raise EOFError("the client was closed")
        return item  # type: ignore[no-any-return]  # it is T: it is not the end

    def close(self) -> None:
        """Take no more."""
        self._portal.call(self._stream.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._portal.run(self._next(None))
            if item is _END:
                return
            yield item

    async def _next(self, timeout: float | None) -> Any:
        async with asyncio.timeout(timeout):
            return await anext(self._stream, _END)


def _put(target: "queue.Queue[Any]", item: Any) -> None:
    while True:
        try:
            target.put_nowait(item)
        except queue.Full:
            with contextlib.suppress(queue.Empty):
                target.get_nowait()
        else:
            return
