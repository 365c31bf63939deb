"""Queue of messages for the broker.

It holds the newest value of each retained topic, and a bounded queue of events and
replies. The connection pulls while it can send. Messages that it had not delivered when
the link broke come back here, so that an old value is never sent after a newer one.

Source: docs/contract.md, 3.4.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from busbar.contract import messages
from busbar.errors import BusbarError

log = logging.getLogger("busbar.outbox")

QUEUE_LIMIT = 10_000  # messages
QUEUE_BYTES = 8 * 1024 * 1024
REPLY_PATIENCE = 60.0  # s; whoever asked has given up by then
REPORT_INTERVAL, REPORT_LINES = 10.0, 5  # s, topics of one report
# A broker of MQTT 3.1.1 does not tell its limit, it closes the connection. After so
# many that broke within so many seconds with the same topic in flight, the largest of
# those is taken for the reason. Less than so many bytes are taken by every broker.
POISON_TRIES = 3
POISON_TIME, POISON_SIZE = 10.0, 1024  # s, bytes
OVERHEAD = 64  # bytes of a PUBLISH beside topic, payload and correlation data

Source = Callable[[], bytes | None]


def _nothing() -> bytes:
    """The payload that removes a retained topic."""
    return b""


def _ignore() -> None:
    """Nobody waits for the topic."""


@dataclass(frozen=True, slots=True)
class Message:
    """One PUBLISH; `born` is monotonic and counts for replies only."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    correlation: bytes | None = None
    content_type: str | None = None
    born: float | None = None  # set: the message loses its meaning after REPLY_PATIENCE

    @property
    def rebuilt(self) -> bool:
        """Whether it is published again after each connect; a retained blob is not."""
        return self.retain and self.content_type is None

    @property
    def size(self) -> int:
        correlation = len(self.correlation) if self.correlation else 0
        return len(self.payload) + len(self.topic.encode()) + correlation + OVERHEAD


class Outbox:
    """Order of sending.

    Retained QoS 1 topics, then events and replies in order, then leaves and blobs.
    """

    def __init__(
        self,
        limit: int = messages.MESSAGE_LIMIT,
        clock: Callable[[], float] = time.monotonic,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self.limit = limit  # bytes of one message
        self._limit = limit
        self._queue_bytes = queue_bytes
        self.wake: Callable[[], None] = lambda: None
        self.published = 0
        self.dropped = 0
        self._clock = clock
        self._retained: dict[str, Source] = {}
        self._leaves: dict[str, Source] = {}
        self._queue: deque[Message] = deque()
        self._bytes = 0
        self._outstanding: Counter[str] = Counter()
        self._waiting: dict[str, Callable[[], None]] = {}
        self._unreported: Counter[str] = Counter()
        self._reported = -REPORT_INTERVAL
        self._defective: set[str] = set()  # topics whose source has raised
        self._connected = -POISON_TIME
        self._breaks: Counter[str] = Counter()  # of the link, by topic in flight

    def lower(self, limit: int | None) -> None:
        """Respect the largest message that the broker takes; None = it tells none.

        Called at each connect.
        """
        self._connected = self._clock()
        self.limit = self._limit if limit is None else min(self._limit, limit)

    def retain(self, topic: str, source: Source) -> None:
        """Publish a retained topic (QoS 1).

        The source is asked when the message can be sent.
        """
        self._retained[topic] = source
        self.wake()

    def leaf(self, topic: str, source: Source, *, wake: bool = True) -> None:
        """Publish a retained topic at QoS 0, after everything else."""
        self._leaves[topic] = source
        if wake:
            self.wake()

    def clear(self, topic: str) -> None:
        """Remove a retained topic from the broker."""
        self._leaves.pop(topic, None)
        self.retain(topic, _nothing)

    def begin(self) -> None:
        """Start again after a connect.

        Forget retained topics, which are about to be rebuilt, except those to remove.
        """
        self._retained = {
            topic: source
            for topic, source in self._retained.items()
            if source is _nothing
        }
        self._leaves.clear()

    def put(self, message: Message) -> None:
        """Queue an event or a reply.

        The oldest of the queue are dropped when it is full.
        """
        self._outstanding[message.topic] += 1
        if message.size > self.limit:
            self._drop(message, "larger than the limit")
            return
        self._queue.append(message)
        self._bytes += message.size
        while len(self._queue) > QUEUE_LIMIT or self._bytes > self._queue_bytes:
            self._drop(self._pop(), "the queue is full")
        self.wake()

    def busy(self, topic: str) -> bool:
        """True while a queued message of this topic is not acknowledged."""
        return self._outstanding[topic] > 0

    def when_idle(self, topic: str, call: Callable[[], None]) -> None:
        """Call once when no message of a busy topic is outstanding any more."""
        self._waiting[topic] = call

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def empty(self) -> bool:
        return not (self._retained or self._queue or self._leaves)

    def pull(self) -> Message | None:
        """Return the next message to send, None when nothing waits."""
        while True:
            message = self._next()
            if message is None:
                return None
            if message.size <= self.limit:
                self.published += 1
                return message
            self._drop(message, "larger than the broker's limit")

    def _next(self) -> Message | None:
        while self._retained:
            topic = next(iter(self._retained))
            payload = self._built(topic, self._retained.pop(topic))
            if payload is not None:
                return Message(topic, payload, qos=1, retain=True)
        while self._queue:
            message = self._pop()
            if message.born is None or self._clock() - message.born <= REPLY_PATIENCE:
                return message
            self._drop(message, "nobody waits for it any more")
        while self._leaves:
            topic = next(iter(self._leaves))
            payload = self._built(topic, self._leaves.pop(topic))
            if payload is not None:
                return Message(topic, payload, qos=0, retain=True)
        return None

    def _built(self, topic: str, source: Source) -> bytes | None:
        """Return the payload of a topic; a defect costs this one message."""
        try:
            return source()
        except Exception as error:
            self.dropped += 1
            self._unreported[f"{topic}: {error!r:.200}"] += 1
            if topic not in self._defective:
                self._defective.add(topic)
                log.exception("%s cannot be published, a defect of ours", topic)
            return None

    def delivered(self, message: Message) -> None:
        """Take note that the broker has a message."""
        if not message.rebuilt:
            self._forget(message)

    def refused(self, message: Message, why: BusbarError) -> None:
        """Count a message that left here and did not arrive."""
        self._drop(message, str(why))

    def returned(self, messages: list[Message]) -> None:
        """Take back what the broker did not acknowledge.

        Events and replies in order, retained topics are rebuilt.
        """
        self._suspect(messages)
        for message in reversed(messages):
            if message.rebuilt:
                payload = message.payload
                source = partial(bytes, payload) if payload else _nothing
                self._retained.setdefault(message.topic, source)
            else:
                self._queue.appendleft(message)
                self._bytes += message.size

    def _suspect(self, in_flight: list[Message]) -> None:
        """Lower the limit once it is plain what keeps breaking the connection."""
        large: dict[str, int] = {}
        if self._clock() - self._connected < POISON_TIME:
            for message in in_flight:
                if message.size > POISON_SIZE:
                    large[message.topic] = message.size
        self._breaks = Counter({topic: self._breaks[topic] + 1 for topic in large})
        guilty = [each for each in large if self._breaks[each] >= POISON_TRIES]
        if guilty:
            topic = max(guilty, key=large.__getitem__)
            self._breaks.clear()
            self._limit = max(POISON_SIZE, large[topic] // 2)
            self.limit = min(self.limit, self._limit)
            log.warning(
                "the connection broke %d times within seconds of sending %s (%d bytes):"
                " the broker seems to take less; from now on at most %d bytes are sent."
                " If you know its limit: broker: {max_message: BYTES}",
                *(POISON_TRIES, topic, large[topic], self._limit),
            )

    def report(self) -> None:
        """Log what has been dropped, at most every 10 s, so that a flood is a line.

        Called every second.
        """
        if not self._unreported or self._clock() - self._reported < REPORT_INTERVAL:
            return
        self._reported = self._clock()
        most = self._unreported.most_common(REPORT_LINES)
        worst = "; ".join(f"{count} on {what}" for what, count in most)
        total = self._unreported.total()
        log.warning("dropped %d messages, most of them: %s", total, worst)
        self._unreported.clear()

    def _pop(self) -> Message:
        message = self._queue.popleft()
        self._bytes -= message.size
        return message

    def _drop(self, message: Message, why: str) -> None:
        self.dropped += 1
        self.delivered(message)
        self._unreported[f"{message.topic}: {why}"] += 1

    def _forget(self, message: Message) -> None:
        self._outstanding[message.topic] -= 1
        if self._outstanding[message.topic] <= 0:
            del self._outstanding[message.topic]
            self._waiting.pop(message.topic, _ignore)()
