"""Descriptions that sigrok-cli prints: found devices, channels, options.

Source: docs/protocols/instruments.md, 11.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from busbar.errors import ProtocolError

LINES = 10_000  # of a description; the longest real ones have some hundred
Value = bool | float | str

_UNITS = {"Hz": 1, "kHz": 10**3, "MHz": 10**6, "GHz": 10**9}
_FREQUENCY = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?(Hz|kHz|MHz|GHz)")
_COUNT = re.compile(r" with [0-9]{1,5} channels?$")
_RANGE = re.compile(r"([^()]{1,40}) - ([^()]{1,40}) in steps of [^()]{1,40}")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?")
_ACROSS = "Supported configuration options"
_GROUP = "Supported configuration options on channel group "
_CURRENT = " (current)"
_TRIGGERS = "Supported triggers"


@dataclass(frozen=True)
class FoundDevice:
    """A device that a scan has found."""

    address: str  # driver[:conn=...]
    title: str
    channels: tuple[str, ...]


@dataclass(frozen=True)
class Option:
    """A setting of a device or of a group of its channels."""

    key: str
    group: str | None = None
    choices: tuple[str, ...] = ()
    current: str | None = None
    least: float | None = None
    most: float | None = None

    @property
    def is_switch(self) -> bool:
        return set(self.choices) == {"on", "off"}

    @property
    def is_number(self) -> bool:
        """Whether it is a number without a list of those that there are."""
        if self.most is not None or self.choices:
            return self.most is not None
        return self.current is not None and _NUMBER.fullmatch(self.current) is not None


@dataclass(frozen=True)
class DeviceOptions:
    """What `--show` says of a device."""

    device: FoundDevice
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: tuple[Option, ...] = ()
    triggers: tuple[str, ...] = ()

    def option(self, key: str, group: str | None = None) -> Option | None:
        """Return an option, None where there is none of this name."""
        for each in self.options:
            if (each.key, each.group) == (key, group):
                return each
        return None


def parse_frequency(text: str) -> int:
    """Return Hz of `333.333 kHz`, exact; raise ProtocolError."""
    match = _FREQUENCY.fullmatch(text.strip())
    if match is None:
        raise ProtocolError(f"not a frequency: {text!r:.60}")
    return int(Decimal(match[1]) * _UNITS[match[2]])


def parse_value(text: str, option: Option) -> Value:
    """Return the value of an option as `--get` prints it; raise ProtocolError."""
    text = text.strip().removeprefix("'").removesuffix("'")
    if option.is_switch:
        return text in ("on", "true")
    if not option.is_number:
        return text
    try:
        return float(Decimal(text))
    except (InvalidOperation, OverflowError):
        return float(parse_frequency(text))


def parse_scan(text: str) -> list[FoundDevice]:
    """Return the devices in the output of `--scan`; other lines say nothing."""
    found = []
    for line in text.splitlines()[:LINES]:
        device = _device(line)
        if device is not None:
            found.append(device)
    return found


def parse_show(text: str) -> DeviceOptions:
    """Return what `--show` says; raise ProtocolError where no device is described."""
    lines = text.splitlines()[:LINES]
    devices = [each for each in map(_device, lines) if each is not None]
    if not devices:
        raise ProtocolError(f"describes no device: {text!r:.100}")
    options: list[Option] = []
    triggers: tuple[str, ...] = ()
    for group, key, rest in _settings(lines):
        if key == _TRIGGERS:
            triggers = tuple(rest.split())
        elif _KEY.fullmatch(key):
            options.append(_option(key, group, rest))
    return DeviceOptions(devices[0], dict(_groups(lines)), tuple(options), triggers)


def _device(line: str) -> FoundDevice | None:
    address, dash, rest = line.partition(" - ")
    title, colon, channels = rest.partition(": ")
    if line[:1].isspace() or not dash or not colon or not _COUNT.search(title):
        return None
    return FoundDevice(address, _COUNT.sub("", title), tuple(channels.split()))


def _groups(lines: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Return the groups of channels, and the channels of each."""
    inside = False
    for line in lines:
        if not line.startswith(" "):
            inside = line.startswith("Channel groups")
            continue
        name, colon, channels = line.strip().partition(": channel")
        if inside and colon:
            yield name, tuple(channels.removeprefix("s").split())


def _settings(lines: list[str]) -> Iterator[tuple[str | None, str, str]]:
    """Return group, key and text of each setting; a list below it is one text."""
    group: str | None = None
    inside = False
    pending: tuple[str, list[str]] | None = None
    for line in [*lines, ""]:
        if pending is not None and not line.startswith("      "):
            yield group, pending[0], ", ".join(pending[1])
            pending = None
        if not line.startswith(" "):
            inside = line.startswith(_ACROSS)
            group = None
            if line.startswith(_GROUP):
                group = line.removeprefix(_GROUP).rstrip(": ")
        elif pending is not None:
            pending[1].append(line.strip())
        elif inside and " - supported " in line:
            pending = (line.strip().partition(" ")[0], [])
        elif inside:
            key, _, rest = line.strip().partition(": ")
            yield (group, key, rest) if rest else (group, *_bracketed(key))


def _bracketed(text: str) -> tuple[str, str]:
    """Return key and rest of `samplerate (1 Hz - 1 GHz in steps of 1 Hz)`."""
    key, _, rest = text.partition(" (")
    return key.rstrip(":"), rest.removesuffix(")")


def _option(key: str, group: str | None, text: str) -> Option:
    match = _RANGE.fullmatch(text)
    if match:
        least, most = float(parse_frequency(match[1])), float(parse_frequency(match[2]))
        return Option(key, group, least=least, most=most)
    values = [each.strip() for each in text.split(", ") if each.strip()]
    current = None
    for each in values:
        if each.endswith(_CURRENT):
            current = each.removesuffix(_CURRENT)
    plain = tuple(each.removesuffix(_CURRENT) for each in values)
    choices = plain if len(plain) > 1 else ()
    if key == "samplerate" and choices:
        rates = [float(parse_frequency(each)) for each in choices]
        return Option(key, group, current=current, least=min(rates), most=max(rates))
    return Option(key, group, choices, current)
