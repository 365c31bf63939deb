"""Every order in which a connection can be woken, blocked and acknowledged.

Two messages, breadth first over what can happen next. In each state that can be
reached, whatever waits must still arrive once the socket takes bytes: nobody has to
wake the connection for it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from busbar.mqtt import connection, paho_client
from busbar.mqtt.connection import Connection
from busbar.mqtt.outbox import Message, Outbox
from busbar.net.endpoint import Endpoint

MESSAGES = 2
FAIR = 30  # turns in which everything must have arrived


class Loop:
    """Callbacks wait until they are run; one socket may be watched."""

    def __init__(self) -> None:
        self.soon: deque[Callable[[], None]] = deque()
        self.writer: Callable[[], None] | None = None

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def add_writer(self, _: int, callback: Callable[[], None]) -> None:
        self.writer = callback

    def remove_writer(self, _: int) -> None:
        self.writer = None

    def create_future(self) -> Any:
        return SimpleNamespace(done=lambda: False)

    def time(self) -> float:
        return 0.0


class Paho:
    """What paho does with packets, and a socket that can be full.

    The callback for a writable socket comes once, until the queue is empty again.
    """

    def __init__(self) -> None:
        self.full = False
        self.waiting: deque[tuple[int, int]] = deque()  # number and QoS
        self.wire: list[tuple[int, int]] = []
        self.unacknowledged: list[int] = []
        self.on_publish: Any = None
        self.on_socket_register_write: Any = None
        self._registered = False
        self._number = 0

    def socket(self) -> Any:
        return self

    def fileno(self) -> int:
        return 1

    def publish(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: Any
    ) -> Any:
        return SimpleNamespace(mid=self.queue(qos))

    def queue(self, qos: int) -> int:
        self._number += 1
        self.waiting.append((self._number, qos))
        self._register()
        return self._number

    def want_write(self) -> bool:
        return bool(self.waiting)

    def loop_write(self) -> None:
        while self.waiting and not self.full:
            number, qos = self.waiting.popleft()
            self.wire.append((number, qos))
            if qos:
                self.unacknowledged.append(number)
        if self.waiting:
            self._register()
        else:
            self._registered = False

    def loop_read(self) -> None:
        """An acknowledgement has come."""
        code = SimpleNamespace(is_failure=False)
        self.on_publish(self, None, self.unacknowledged.pop(0), code, None)

    def _register(self) -> None:
        if not self._registered:
            self._registered = True
            self.on_socket_register_write(self, None, self)


class Bench:
    """A connection between a queue and such a paho."""

    def __init__(
        self,
        qualities: tuple[int, ...],
        window: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.loop, self.paho, self.outbox = Loop(), Paho(), Outbox()
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self.loop)
        monkeypatch.setattr(paho_client, "client", lambda *_, **__: self.paho)
        self.link = Connection(
            Endpoint("mqtt://127.0.0.1"), self.outbox, print, "busbar.test", None
        )
        self.paho.on_socket_register_write = self.link._on_register_write
        self.link._window = window
        self._qualities = qualities
        self.put_so_far = 0
        self.begun = False
        self.pinged = False
        self.arrived: list[str] = []
        self._deliver = self.outbox.delivered
        self.outbox.delivered = self._note  # type: ignore[method-assign]

    def _note(self, message: Message) -> None:
        self.arrived.append(message.topic)
        self._deliver(message)

    def possible(self) -> Iterator[str]:
        """Yield what can happen next."""
        if not self.begun:
            yield "begin"
        if self.put_so_far < MESSAGES:
            yield "put"
        if not self.pinged:
            yield "ping"
        if self.loop.soon:
            yield "run"
        if self.loop.writer is not None and not self.paho.full:
            yield "writable"
        if self.paho.unacknowledged:
            yield "acknowledged"
        yield "take" if self.paho.full else "fill"

    def begin(self) -> None:
        self.begun = True
        self.link.begin()

    def put(self) -> None:
        topic = f"t{self.put_so_far}"
        if self._qualities[self.put_so_far]:
            self.outbox.put(Message(topic, b"x"))
        else:
            self.outbox.leaf(topic, lambda: b"x")
        self.put_so_far += 1

    def ping(self) -> None:
        """Paho has something of its own to send."""
        self.pinged = True
        self.paho.queue(0)

    def run(self) -> None:
        self.loop.soon.popleft()()

    def writable(self) -> None:
        assert self.loop.writer is not None
        self.loop.writer()

    def acknowledged(self) -> None:
        self.link._readable()

    def fill(self) -> None:
        self.paho.full = True

    def take(self) -> None:
        self.paho.full = False

    def state(self) -> Any:
        """All that decides about the future."""
        link, paho = self.link, self.paho
        return (
            (self.begun, self.put_so_far, self.pinged, paho.full, paho._registered),
            self.loop.writer is not None,
            (link._pumping, link._writing, len(self.loop.soon)),
            (tuple(paho.waiting), tuple(paho.wire), tuple(paho.unacknowledged)),
            (tuple(self.arrived), self.outbox.queued, self.outbox.empty),
        )

    def settle(self) -> None:
        """Let the socket take bytes, and the broker acknowledge them; wake nobody."""
        self.take()
        for _ in range(FAIR):
            if self.loop.soon:
                self.run()
            elif self.loop.writer is not None:
                self.writable()
            elif self.paho.unacknowledged:
                self.acknowledged()

    def check(self, path: tuple[str, ...]) -> None:
        if self.begun:
            topics = [f"t{number}" for number in range(self.put_so_far)]
            assert sorted(self.arrived) == topics, path
        assert not self.paho.waiting, path
        assert self.loop.writer is None, f"it would be called for ever after {path}"


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("batch", [1, 50])
@pytest.mark.parametrize("qualities", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_whatever_waits_is_sent_in_every_order_of_events(
    qualities: tuple[int, ...],
    batch: int,
    window: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "BATCH", batch)
    seen: set[Any] = set()
    waiting: deque[tuple[str, ...]] = deque([()])
    while waiting:
        path = waiting.popleft()
        bench = Bench(qualities, window, monkeypatch)
        for what in path:
            getattr(bench, what)()
        state = bench.state()
        if state in seen:
            continue
        seen.add(state)
        waiting += [(*path, what) for what in bench.possible()]
        bench.settle()
        bench.check(path)
    assert len(seen) > 100
