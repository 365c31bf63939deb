"""Commands on their way to the broker.

One that a broken connection has not delivered is never sent again.
"""

from collections import deque
from collections.abc import Callable

from busbar.client.types import NotConnected
from busbar.contract import messages
from busbar.errors import BusbarError, Overloaded, TooLarge
from busbar.mqtt.outbox import Message

QUEUE_LIMIT = 10_000  # messages that wait for the broker


class Outgoing:
    """The source of one client's connection."""

    def __init__(self, on_refused: Callable[[Message, BusbarError], None]) -> None:
        self.wake: Callable[[], None] = lambda: None
        self.limit = messages.MESSAGE_LIMIT
        self.open = False  # connected: nothing is kept for later
        self._on_refused = on_refused
        self._queue: deque[Message] = deque()

    def put(self, message: Message) -> None:
        """Send a message; raise NotConnected, TooLarge, Overloaded."""
        if not self.open:
            raise NotConnected("not connected to the broker")
        if message.size > self.limit:
            raise TooLarge(
                f"{len(message.payload)} bytes are more than the broker takes "
                f"({self.limit})"
            )
        if len(self._queue) >= QUEUE_LIMIT:
            raise Overloaded(f"{QUEUE_LIMIT} commands wait for the broker")
        self._queue.append(message)
        self.wake()

    def withdraw(self, message: Message) -> bool:
        """Do not send a message after all; return whether that was in time."""
        if message not in self._queue:
            return False
        self._queue.remove(message)
        return True

    def lower(self, limit: int | None) -> None:
        self.limit = messages.MESSAGE_LIMIT
        if limit is not None:
            self.limit = min(messages.MESSAGE_LIMIT, limit)

    def pull(self) -> Message | None:
        if not self._queue:
            return None
        return self._queue.popleft()

    def delivered(self, message: Message) -> None:
        pass

    def refused(self, message: Message, why: BusbarError) -> None:
        self._on_refused(message, why)

    def returned(self, messages: list[Message]) -> None:
        self._queue.clear()
