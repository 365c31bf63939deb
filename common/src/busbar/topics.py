"""The topic grammar: names, and the topics of one bridge, built and parsed. Source: docs/contract.md, 1."""

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from busbar.errors import ConfigError, Forbidden

BRIDGE = "bridge"  # the device that is the bridge itself
REPLY = "reply"  # reserved bridge name: <root>/reply/... are private reply topics
LEVEL_LIMIT = 64  # characters of one level

LEVEL = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Mosquitto disconnects whoever publishes on a topic with control characters, surrogates or noncharacters (measured).
_UNSENDABLE = r"\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef" + "".join(
    f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
)
_REPLY_LEVEL = re.compile(rf"[^+#/{_UNSENDABLE}]{{1,128}}")
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST = 7  # characters of "-" and 6 hex digits


def level(original: str) -> str:
    """Return the topic level for a foreign name, the same whatever the order of arrival."""
    plain = original.replace(" ", "_")
    mapped = _FOREIGN.sub("_", plain) or "_"
    exact = mapped == plain
    if mapped.startswith("_"):
        mapped = f"x{mapped}"
    if exact and len(mapped) <= LEVEL_LIMIT:
        return mapped
    digest = hashlib.sha256(original.encode(errors="surrogatepass")).hexdigest()
    return f"{mapped[: LEVEL_LIMIT - _DIGEST]}-{digest[:6]}"


def collisions(originals: Mapping[str, str]) -> set[str]:
    """Return the originals (of original -> topic path) that share a path with another: none of them may be served."""
    seen: dict[str, list[str]] = {}
    for original, path in originals.items():
        seen.setdefault(path, []).append(original)
    return {original for group in seen.values() if len(group) > 1 for original in group}


def check_level(name: str, what: str) -> None:
    """Raise ConfigError unless the name is one topic level."""
    if not LEVEL.fullmatch(name):
        raise ConfigError(f"{what} {name!r} must be 1 to 64 of the characters A-Z a-z 0-9 _ -")


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
            raise ConfigError(f"bridge name {REPLY!r} is reserved for private reply topics; choose another")
        self.root, self.bridge = root, bridge
        self.base = f"{root}/{bridge}/"
        self.client_id = f"{root.replace('/', '.')}.{bridge}"
        self.commands = [f"{self.base}+/{channel}/#" for channel in ("set", "call")]  # `set/#` covers `set`
        self.leftovers = [f"{self.base}+/{channel}" for channel in ("status", "info", "state/#", "blob/#")]

    def topic(self, device: str, channel: str, path: str = "") -> str:
        return f"{self.base}{device}/{channel}/{path}" if path else f"{self.base}{device}/{channel}"

    def parse(self, topic: str) -> Address | None:
        """Return the address of a topic of ours, None for anything else."""
        if not topic.startswith(self.base):
            return None
        device, _, rest = topic[len(self.base) :].partition("/")
        channel, _, path = rest.partition("/")
        return Address(device, channel, path) if device and channel else None

    def private_reply(self, topic: str, device: str) -> str | None:
        """Return a usable private reply topic, None for the device's own; raise Forbidden for any other topic."""
        if topic == self.topic(device, REPLY):
            return None
        prefix = f"{self.root}/{REPLY}/"
        levels = topic[len(prefix) :].split("/") if topic.startswith(prefix) else []
        if not 1 <= len(levels) <= 4 or not all(map(_REPLY_LEVEL.fullmatch, levels)):
            raise Forbidden(f"reply topic {topic[:200]!r} is not {prefix} plus 1 to 4 levels without wildcards")
        return topic


def matches(pattern: str, path: str) -> bool:
    """True if a topic filter (`+` one level, `#` the rest) covers a path."""
    wanted, levels = pattern.split("/"), path.split("/")
    for position, level_ in enumerate(wanted):
        if level_ == "#":
            return True
        if position >= len(levels) or level_ not in ("+", levels[position]):
            return False
    return len(wanted) == len(levels)
