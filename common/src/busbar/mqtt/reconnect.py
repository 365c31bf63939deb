"""What a connection to a broker is for those who use it; `mqtt` makes one.

Source: docs/contract.md, 5.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol

from busbar.mqtt.outbox import Message

log = logging.getLogger("busbar.broker")

RETRY_FIRST, RETRY_MOST = 0.2, 3.0  # s (contract 5)


class BrokerLost(Exception):
    """The connection to the broker could not be made, or ended; the message says why."""


class Received(NamedTuple):
    """One message from the broker; what follows `qos` are MQTT 5 properties."""

    topic: str
    payload: bytes
    retain: bool
    qos: int = 1  # of this delivery
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry: float | None = None  # s
    content_type: str | None = None


class Source(Protocol):
    """Where the connection pulls from: an Outbox."""

    wake: Callable[[], None]

    def lower(self, limit: int | None) -> None: ...
    def pull(self) -> Message | None: ...
    def delivered(self, message: Message) -> None: ...
    def refused(self, message: Message, why: str) -> None: ...
    def returned(self, messages: list[Message]) -> None: ...


Connect = Callable[..., AbstractAsyncContextManager[Any]]


async def stay_connected(connect_and_serve: Callable[[], Awaitable[None]]) -> None:
    """Run until it returns.

    After each BrokerLost again, with full jitter between 0.2 s and 3 s (contract 5).
    """
    attempt, told = 0, ""
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        try:
            await connect_and_serve()
            return
        except BrokerLost as error:
            held = loop.time() - started > 2 * RETRY_MOST
            attempt = 0 if held else attempt + 1
            log.log(
                logging.WARNING if held or str(error) != told else logging.DEBUG,
                "%s",
                error,
            )
            told = str(error)
        ceiling = min(RETRY_MOST, RETRY_FIRST * 2**attempt)
        await asyncio.sleep(random.uniform(RETRY_FIRST / 2, ceiling))
