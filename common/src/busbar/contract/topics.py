"""The topic grammar: the topics of one bridge, built and parsed.

Source: docs/contract.md, 1.
"""

import re
from typing import NamedTuple

from busbar.contract.names import check_level
from busbar.errors import ConfigError, Forbidden

BRIDGE = "bridge"  # the device that is the bridge itself
REPLY = "reply"  # reserved bridge name: <root>/reply/... are private reply topics

# Mosquitto disconnects whoever publishes on a topic with control characters, surrogates
# or noncharacters (measured).
_PLANES = range(0, 0x110000, 0x10000)
_NONCHARACTERS = "".join(chr(at + 0xFFFE) + chr(at + 0xFFFF) for at in _PLANES)
_UNSENDABLE = r"\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef" + _NONCHARACTERS
_REPLY_LEVEL = re.compile(rf"[^+#/{_UNSENDABLE}]{{1,128}}")


class Address(NamedTuple):
    """Where a topic of one bridge points: `path` is "" for a channel's own topic."""

    device: str
    channel: str
    path: str


class Topics:
    """Builds and parses the topics of one bridge."""

    def __init__(self, root: str, bridge: str) -> None:
        for part in root.split("/"):
            check_level(part, "root level")
        check_level(bridge, "bridge name")
        if bridge == REPLY:
            raise ConfigError(
                f"bridge name {REPLY!r} is reserved for private reply topics; "
                "choose another"
            )
        self.root = root
        self.bridge = bridge
        self.base = f"{root}/{bridge}/"
        self.client_id = f"{root.replace('/', '.')}.{bridge}"
        self.commands = self._filters("set/#", "call/#")  # `set/#` covers `set`
        # what is published again when somebody else has published on it
        self.availability = self._filters("status", "info")
        self.values = self._filters("state/#")
        # what may be retained, and what must not
        self.leftovers = self._filters("status", "info", "state/#", "blob/#")
        self.garbage = self._filters("event/#", "reply")

    def topic(self, device: str, channel: str, path: str = "") -> str:
        if path:
            return f"{self.base}{device}/{channel}/{path}"
        return f"{self.base}{device}/{channel}"

    def parse(self, topic: str) -> Address | None:
        """Return the address of a topic of ours, None for anything else."""
        if not topic.startswith(self.base):
            return None
        device, _, rest = topic[len(self.base) :].partition("/")
        channel, _, path = rest.partition("/")
        if not device or not channel:
            return None
        return Address(device, channel, path)

    def private_reply(self, topic: str, device: str) -> str | None:
        """Return a usable private reply topic, None for the device's own.

        Raise Forbidden for any other topic.
        """
        if topic == self.topic(device, REPLY):
            return None
        prefix = f"{self.root}/{REPLY}/"
        own, _, rest = topic.partition(prefix)
        levels = rest.split("/")
        fit = len(levels) <= 4 and all(map(_REPLY_LEVEL.fullmatch, levels))
        if own or not fit:
            raise Forbidden(
                f"reply topic {topic[:200]!r} is not {prefix} plus 1 to 4 levels "
                "without wildcards"
            )
        return topic

    def _filters(self, *ends: str) -> list[str]:
        return [f"{self.base}+/{end}" for end in ends]


def matches(pattern: str, path: str) -> bool:
    """Return whether a topic filter (`+` one level, `#` the rest) covers a path."""
    wanted, levels = pattern.split("/"), path.split("/")
    for position, level_ in enumerate(wanted):
        if level_ == "#":
            return True
        if position >= len(levels) or level_ not in ("+", levels[position]):
            return False
    return len(wanted) == len(levels)
