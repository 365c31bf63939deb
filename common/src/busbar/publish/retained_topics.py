"""The retained topics of a device beside its values: status, info and state.

It remembers what it has sent last, so that its echo is told from what others publish.
"""

from collections.abc import Callable, Mapping
from functools import partial

from busbar.mqtt.outbox import Outbox, Source


class RetainedTopics:
    """Sends them; `sources` make the payload of a channel when it can be sent."""

    def __init__(
        self,
        outbox: Outbox,
        topic: Callable[[str], str],
        sources: Mapping[str, Source],
    ) -> None:
        self._outbox = outbox
        self._topic = topic
        self._sources = {
            channel: partial(self._payload, channel, source)
            for channel, source in sources.items()
        }
        # hashes: the payloads of all devices would be much to keep
        self._newest: dict[str, int] = {}

    def publish(self, *channels: str) -> None:
        """Send these as soon as they can be sent."""
        for channel in channels:
            self._outbox.retain(self._topic(channel), self._sources[channel])

    def is_newest(self, channel: str, payload: bytes) -> bool:
        """Return whether this is what we have sent last."""
        return self._newest.get(channel) == hash(payload)

    def _payload(self, channel: str, source: Source) -> bytes | None:
        payload = source()
        if payload is not None:
            self._newest[channel] = hash(payload)
        return payload
