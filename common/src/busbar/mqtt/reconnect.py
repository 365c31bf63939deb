"""Reconnect loop of the MQTT connection, and the types of its users.

Source: docs/contract.md, 5.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol

from busbar.errors import BusbarError, Forbidden
from busbar.mqtt.outbox import Message
from busbar.net.backoff import Backoff, Delays

log = logging.getLogger("busbar.broker")

# Source: docs/contract.md, 5
DELAYS = Delays(least=0.1, first=0.2, most=3.0, held=6.0)


class BrokerLost(Exception):
    """The connection to the broker failed or ended; the message says why."""


class SubscriptionRefused(BrokerLost):
    """The broker refuses a subscription; the others that were asked for are made."""


class SubscriptionForbidden(Forbidden, SubscriptionRefused):
    """The broker does not let this user subscribe; `detail` has the filters.

    Only its rights can change that.
    """


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
    def refused(self, message: Message, why: BusbarError) -> None: ...
    def returned(self, messages: list[Message]) -> None: ...


Connect = Callable[..., AbstractAsyncContextManager[Any]]


async def stay_connected(connect_and_serve: Callable[[], Awaitable[None]]) -> None:
    """Run until it returns, again after each BrokerLost."""
    backoff = Backoff(DELAYS)
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        try:
            await connect_and_serve()
            return
        except BrokerLost as error:
            lasted = loop.time() - started
            backoff.fail(lasted)
            differs = backoff.report(str(error))
            warn = differs or lasted > DELAYS.held
            log.log(logging.WARNING if warn else logging.DEBUG, "%s", error)
        await asyncio.sleep(backoff.pause())
