"""The MQTT connection: paho on our own event loop; it knows no role.

A new client object for every connection: paho re-sends its old in-flight messages after
newer ones when it reconnects (measured, 2.2.0). Only supported callbacks are used. At
most 100 messages of QoS 1 are in flight because paho scans all of them for each
acknowledgement (measured: 30 us per message at 100, 73 us at 1000).
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from paho.mqtt import client as paho

from busbar.errors import (
    BadRequest,
    BusbarError,
    ConfigError,
    Forbidden,
    LinkLost,
    Overloaded,
)
from busbar.mqtt import paho_client
from busbar.mqtt.outbox import OVERHEAD, Message
from busbar.mqtt.reconnect import (
    BrokerLost,
    Received,
    Source,
    SubscriptionForbidden,
    SubscriptionRefused,
)
from busbar.net.endpoint import Endpoint
from busbar.net.sockets import in_thread, no_delay, taken, unsent

IN_FLIGHT = 100
BATCH = 50  # messages handed to paho before the loop may do something else
BATCH_BYTES = 256 * 1024  # and bytes, so that a ping never waits long behind them
CONNECT_TIMEOUT = 5.0  # s
ACK_TIMEOUT = 15.0  # s without any acknowledgement while one is due: the link is dead
RECENT = 1.5  # s; what was read in them is not older than the last tick
DRAIN_TIMEOUT = 2.0  # s for the last acknowledgements of a clean stop
NOT_AUTHORIZED = 0x87
# The answers to a publish of which more is known than that it failed.
# Source: MQTT 5.0, 3.4.2.1
_REFUSALS: Mapping[int, type[BusbarError]] = {
    NOT_AUTHORIZED: Forbidden,
    0x90: BadRequest,  # topic name invalid
    0x97: Overloaded,  # quota exceeded
    0x99: BadRequest,  # payload format invalid
}


class Connection:
    """One open connection; `closed` ends with BrokerLost when it does."""

    def __init__(
        self,
        endpoint: Endpoint,
        source: Source,
        on_message: Callable[[Received], None],
        client_id: str,
        will: Message | None,
    ) -> None:
        self._endpoint = endpoint
        self._version5 = endpoint.protocol == "5"
        self._source = source
        self._on_message = on_message
        self._client = paho_client.client(
            endpoint,
            client_id,
            will,
            in_flight=IN_FLIGHT,
            connect_timeout=CONNECT_TIMEOUT,
        )
        self._client.on_socket_open = self._on_socket_open
        self._ticker: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._in_flight: dict[int, Message] = {}
        # QoS 0, handed to paho and perhaps not on the wire
        self._unwritten: list[Message] = []
        # bytes that the kernel holds, and what the other side has acknowledged
        self._progress = (0, 0)
        self._acks: dict[int, asyncio.Future[list[Any]]] = {}
        self._connected: asyncio.Future[Any] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._idle = asyncio.Event()
        self._window = IN_FLIGHT
        self._sending = False
        self._pumping = False
        self._writing: int | None = None
        self._last_ack = 0.0
        # loop time (s) of the last bytes that came, and of those that ended no packet
        self.last_read = self.last_part = 0.0
        self._whole = False  # a packet has come with them

    async def open(self) -> None:
        """Connect and wait for CONNACK; raise BrokerLost."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await in_thread(self._connect)
                self._attach()
                properties = await self._connected
        except TimeoutError as error:
            raise BrokerLost(
                f"no answer from {self._endpoint.shown} within {CONNECT_TIMEOUT:g} s"
            ) from error
        except (OSError, ValueError) as error:
            raise BrokerLost(
                f"cannot connect to {self._endpoint.shown}: {error}"
            ) from error
        self._take_limits(properties)
        self._ticker = self._loop.create_task(self._tick(), name="mqtt-keepalive")

    def begin(self) -> None:
        """Start to send what waits."""
        self._sending = True
        self._source.wake = self._wake
        self._wake()

    async def drained(self) -> None:
        """Wait until everything has been sent and acknowledged.

        Return early when the connection is lost, or when it takes too long.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT):
                while not self.closed.done():
                    self._idle.clear()
                    self._wake()
                    await self._idle.wait()
                    if not self._in_flight and not self._client.want_write():
                        return

    def close(self, *, clean: bool) -> None:
        """Leave.

        With a DISCONNECT, so that the broker keeps the will to itself, or as if the
        link had broken.
        """
        self._source.wake = lambda: None
        if self._ticker is not None:
            self._ticker.cancel()
        if clean and not self.closed.done():
            self._client.disconnect()
            self._client.loop_write()
        sock = self._client.socket()
        if sock is not None:
            self._on_socket_close(None, None, sock)
            # paho calls it again when it is collected
            self._client.on_socket_close = None
            sock.close()
        self._lost("closed")
        for message in self._unwritten:
            if not message.rebuilt:
                broke = LinkLost("the link broke while it was sent")
                self._source.refused(message, broke)
        self._source.returned(list(self._in_flight.values()))
        self._in_flight.clear()

    async def subscribe(
        self, filters: Iterable[str], *, others_only: bool = False
    ) -> None:
        """Subscribe at QoS 1 and wait for SUBACK.

        others_only: neither what is retained nor what we publish ourselves; with MQTT
        3.1.1, which cannot say so, both come. Raise SubscriptionRefused, for want of
        rights SubscriptionForbidden.
        """
        wanted = list(filters)
        asked = paho_client.subscriptions(
            wanted, others_only=others_only, version5=self._version5
        )
        _, mid = self._client.subscribe(asked)
        codes = await self._acknowledged(mid)
        answers = zip(wanted, codes, strict=False)
        refused = [(name, code) for name, code in answers if code.is_failure]
        if refused:
            raise self._no_subscription(refused)

    def _no_subscription(self, refused: list[tuple[str, Any]]) -> SubscriptionRefused:
        listed = ", ".join(f"{name}: {code}" for name, code in refused)
        text = f"the broker refuses the subscription to {listed}"
        # MQTT 3.1.1 has one code for all refusals, and brokers need it for rights
        if refused[0][1].value == NOT_AUTHORIZED or not self._version5:
            return SubscriptionForbidden(text, filters=[each for each, _ in refused])
        return SubscriptionRefused(text)

    async def unsubscribe(self, filters: Iterable[str]) -> None:
        _, mid = self._client.unsubscribe(list(filters))
        await self._acknowledged(mid)

    async def _acknowledged(self, mid: int | None) -> list[Any]:
        if self.closed.done():
            self.closed.result()  # raises why
        if mid is None:
            raise BrokerLost("not connected")
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._acks[mid] = future
        self._last_ack = self._loop.time()
        try:
            return await future  # the ticker ends it when the link is dead
        finally:
            self._acks.pop(mid, None)

    def _connect(self) -> None:
        self._client.connect(
            self._endpoint.host,
            self._endpoint.port,
            keepalive=self._endpoint.keepalive,
            clean_start=True if self._version5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
        )

    def _attach(self) -> None:
        client = self._client
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_paho_message
        client.on_subscribe = self._on_acknowledged
        client.on_unsubscribe = self._on_acknowledged
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        sock = client.socket()
        if sock is None:
            raise OSError("the connection closed at once")
        self._loop.add_reader(sock, self._readable)

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:
        """Before CONNECT is sent, in the thread that connects."""
        # it took too long: two of us would fight for the client id
        if self.closed.done():
            sock.close()
            raise OSError("given up already")
        no_delay(client, userdata, sock)

    def _take_limits(self, properties: Any) -> None:
        self._window = min(IN_FLIGHT, getattr(properties, "ReceiveMaximum", IN_FLIGHT))
        largest = getattr(properties, "MaximumPacketSize", None)
        self._source.lower(None if largest is None else largest - OVERHEAD)

    def _on_connect(
        self, _c: Any, _u: Any, _flags: Any, code: Any, properties: Any
    ) -> None:
        if self._connected.done():
            return
        if code.is_failure:
            self._connected.set_exception(
                BrokerLost(f"{self._endpoint.shown} refuses the connection: {code}")
            )
        else:
            self._connected.set_result(properties)

    def _on_disconnect(
        self, _c: Any, _u: Any, _flags: Any, code: Any, _properties: Any
    ) -> None:
        self._lost(str(code))

    def _on_paho_message(self, _c: Any, _u: Any, message: paho.MQTTMessage) -> None:
        self._whole = True
        self._on_message(paho_client.received(message))

    def _on_publish(
        self, _c: Any, _u: Any, mid: int, code: Any, _properties: Any
    ) -> None:
        self._whole = True
        message = self._in_flight.pop(mid, None)
        if message is None:
            return
        self._last_ack = self._loop.time()
        if code.is_failure:
            refusal = _REFUSALS.get(code.value, LinkLost)
            self._source.refused(message, refusal(f"the broker refuses it: {code}"))
        else:
            self._source.delivered(message)

    def _on_acknowledged(
        self, _c: Any, _u: Any, mid: int, codes: list[Any], _properties: Any
    ) -> None:
        self._whole = True
        future = self._acks.get(mid)
        if future is not None and not future.done():
            future.set_result(codes)

    def _on_socket_close(self, _c: Any, _u: Any, sock: Any) -> None:
        self._loop.remove_reader(sock)
        if self._writing is not None:
            self._loop.remove_writer(self._writing)
            self._writing = None

    def _on_register_write(self, _c: Any, _u: Any, _sock: Any) -> None:
        self._wake()

    def _lost(self, reason: str) -> None:
        error = BrokerLost(f"connection to {self._endpoint.shown} ended: {reason}")
        for future in (self._connected, self.closed, *self._acks.values()):
            if not future.done():
                future.set_exception(error)
                future.exception()  # retrieved: not everybody waits for each of them
        self._idle.set()

    def _readable(self) -> None:
        """Read what has come.

        `on_publish` is set only here: paho would call it for each QoS 0 message
        written, too.
        """
        self.last_read = self._loop.time()
        self._whole = False
        self._client.on_publish = self._on_publish
        self._read()
        if not self._whole:
            self.last_part = self.last_read
        self._client.on_publish = None
        self._wake()

    def _read(self) -> None:
        self._client.loop_read()
        sock = self._client.socket()
        while isinstance(sock, ssl.SSLSocket) and sock.pending():
            self._client.loop_read()
            sock = self._client.socket()

    def _wake(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Send while the broker takes it.

        What waits stays in the source, where the newest value wins.
        """
        self._pumping = False
        if self.closed.done():
            return
        more = self._fill()
        self._client.loop_write()
        waiting = self._client.want_write()
        if not waiting:
            self._written()
        self._watch_writable(waiting)
        if more and self._writing is None:
            self._wake()
        if not more:
            self._idle.set()

    def _fill(self) -> bool:
        """Hand messages to paho; return whether there may be more."""
        if not self._sending or self._writing is not None:
            return False
        handed = 0
        for _ in range(BATCH):
            if handed >= BATCH_BYTES:
                return True
            if len(self._in_flight) >= self._window:
                return False
            message = self._source.pull()
            if message is None:
                return False
            self._publish(message)
            handed += message.size
        return True

    def _publish(self, message: Message) -> None:
        try:
            mid = paho_client.publish(self._client, message, version5=self._version5)
        except ValueError as error:  # a topic that MQTT does not allow
            self._source.refused(message, BadRequest(str(error)))
            return
        if message.qos:
            if not self._in_flight:
                self._last_ack = self._loop.time()
            self._in_flight[mid] = message
        else:
            self._unwritten.append(message)

    def _written(self) -> None:
        for message in self._unwritten:
            self._source.delivered(message)
        self._unwritten.clear()

    def _watch_writable(self, wanted: bool) -> None:
        sock = self._client.socket()
        if wanted and sock is not None and self._writing is None:
            self._writing = sock.fileno()
            self._loop.add_writer(self._writing, self._wake)
        elif not wanted and self._writing is not None:
            self._loop.remove_writer(self._writing)
            self._writing = None
            self._wake()

    def _moves(self) -> bool:
        """True while the other side takes bytes that wait.

        A slow link is not a dead one.
        """
        sock = self._client.socket()
        before, self._progress = (
            self._progress,
            (0, 0) if sock is None else (unsent(sock), taken(sock)),
        )
        return before[0] > 0 and self._progress[1] != before[1]

    async def _tick(self) -> None:
        while not self.closed.done():
            await asyncio.sleep(1)
            idle = (
                not self._in_flight and not self._acks and not self._client.want_write()
            )
            # a subscription is answered behind all that is on the way to us
            silent = self._loop.time() - self.last_read
            comes = bool(self._acks) and silent < RECENT
            if idle or self._moves() or comes:
                self._last_ack = self._loop.time()
            elif self._loop.time() - self._last_ack > ACK_TIMEOUT:
                self._lost(f"no acknowledgement for {ACK_TIMEOUT:g} s")
            self._client.loop_misc()


@contextlib.asynccontextmanager
async def connection(
    endpoint: Endpoint,
    source: Source,
    on_message: Callable[[Received], None],
    client_id: str,
    will: Message | None = None,
) -> AsyncIterator[Connection]:
    """One connection.

    Entered = the broker has accepted us, left = closed, cleanly unless by an error.
    """
    try:
        opened = Connection(endpoint, source, on_message, client_id, will)
    except ConfigError as error:  # a certificate is being renewed: wait for it
        raise BrokerLost(str(error)) from error
    clean = False
    try:
        await opened.open()
        yield opened
        clean = True
    finally:
        opened.close(clean=clean)
