"""Subscriptions of one client: patterns over device, channel and path.

Each topic is looked up once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from busbar.client.queues import Queue
from busbar.contract.topics import matches

CACHE_LIMIT = 100_000  # topics whose queues are remembered

CHANNELS = ("state", "event", "blob", "status")


@dataclass(frozen=True, eq=False)
class Subscription:
    """One queue and what goes into it."""

    device: str  # pattern of bridge/device
    channel: str
    path: str  # pattern
    queue: Queue[Any]

    def wants(self, device: str, channel: str, path: str) -> bool:
        """Return whether the patterns fit."""
        if channel != self.channel:
            return False
        return matches(self.device, device) and matches(self.path, path)


class Subscriptions:
    """All subscriptions of one client."""

    def __init__(self, on_left: Callable[[], None] = lambda: None) -> None:
        self._on_left = on_left  # called when a subscription has gone
        self._subscriptions: list[Subscription] = []
        self._found: dict[tuple[str, str, str], tuple[Queue[Any], ...]] = {}

    def add(self, subscription: Subscription) -> Callable[[], None]:
        """Add a subscription; return what removes it, harmless when called twice."""
        self._subscriptions.append(subscription)
        self._found.clear()

        def leave() -> None:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
                self._found.clear()
                self._on_left()

        return leave

    def of(self, device: str, channel: str, path: str) -> tuple[Queue[Any], ...]:
        """Return the queues that want this."""
        key = (device, channel, path)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= CACHE_LIMIT:
                self._found.clear()
            wanting = [
                subscription.queue
                for subscription in self._subscriptions
                if subscription.wants(device, channel, path)
            ]
            found = self._found[key] = tuple(dict.fromkeys(wanting))
        return found

    def close(self) -> None:
        """Close every queue: nothing comes any more."""
        for subscription in self._subscriptions:
            subscription.queue.close()


def parse(pattern: str) -> tuple[str, str, str]:
    """Split `bridge/device/channel[/path]`, each with wildcards.

    Raise ValueError with what is allowed.
    """
    levels = pattern.split("/")
    bridge, device, channel, *path = [*levels, "", "", ""][: max(3, len(levels))]
    wrong = (
        not (bridge and device)
        or channel not in CHANNELS
        or "#" in levels[:-1]
        or (channel == "status" and path)
    )
    if wrong:
        allowed = " or ".join(
            f"<bridge>/<device>/{each}/<path>" for each in CHANNELS[:3]
        )
        raise ValueError(
            f"{pattern!r} is not {allowed} or <bridge>/<device>/status (with + and "
            f"# as wildcards)"
        )
    if channel == "status":
        return f"{bridge}/{device}", channel, "#"
    return f"{bridge}/{device}", channel, "/".join(path) or "#"
