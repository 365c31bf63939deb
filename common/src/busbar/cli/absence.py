"""Why nothing may be known: another root, a broker that does not retain as others."""

import secrets
from collections.abc import Iterable
from typing import Literal

from busbar.cli.observe import Seen, kept, observing
from busbar.cli.settings import Settings
from busbar.contract.topics import BRIDGE, REPLY
from busbar.mqtt.reconnect import BrokerLost

KEPT = 1.0  # s for a message of our own to come back
LEVELS = 3  # of other roots that are looked for
NO_WILDCARDS = (
    "the broker does not send retained messages to subscriptions with wildcards "
    "(RabbitMQ 3 does not): only a device that is named exactly is known at once, as "
    "in `busbar show BRIDGE/DEVICE`"
)
OVERTAKES = (
    "the broker sends retained messages behind later ones (aedes does): we wait for "
    "quiet instead of for their end"
)

Retention = Literal["ok", "no wildcards", "nothing", "unknown"]


async def other_roots(settings: Settings) -> list[str]:
    """Return the roots of all bridges, whatever ours is."""
    filters = []
    for levels in range(1, LEVELS + 1):
        filters.append(f"{'+/' * levels}+/{BRIDGE}/status")
    try:
        found = await kept(settings.endpoint, *filters)
    except BrokerLost:  # we may not look there
        return []
    return sorted({topic.rsplit("/", 3)[0] for topic in found})


async def retention(settings: Settings) -> Retention:
    """Return what becomes of a message of ours that is retained, and remove it."""
    try:
        return await _retention(settings)
    except BrokerLost:  # we may not try
        return "unknown"


async def _retention(settings: Settings) -> Retention:
    private = private_topic(settings, f"kept-{secrets.token_hex(4)}")
    topic = f"{private}/kept"
    async with observing(settings.endpoint, f"{private}/#") as observer:
        observer.publish(topic, b"kept", retain=True)
        if not await observer.until(lambda: on(observer.seen, topic), KEPT):
            return "unknown"
        try:
            exact = await kept(settings.endpoint, topic)
            wide = await kept(settings.endpoint, f"{private}/+")
        finally:
            observer.publish(topic, b"", retain=True)
            await observer.until(lambda: len(on(observer.seen, topic)) > 1, KEPT)
    if topic in wide:
        return "ok"
    return "no wildcards" if topic in exact else "nothing"


def private_topic(settings: Settings, name: str) -> str:
    """Return a topic of ours alone, which brokers with rights grant a user."""
    user = settings.endpoint.credentials[0]
    if user:
        name = f"{user}/{name}"
    return f"{settings.prefix}/{REPLY}/{name}"


def on(seen: Iterable[Seen], topic: str) -> list[Seen]:
    """Return the messages on a topic."""
    return [each for each in seen if each.topic == topic]
