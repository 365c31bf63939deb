"""What to capture, how sigrok-cli is told, and what came of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from busbar.bridge import BadRequest, OutOfRange
from busbar.codecs.sigrok import Annotation, Capture

Value = bool | float | str


@dataclass(frozen=True)
class Wanted:
    """What to capture; it has been checked against the instrument."""

    channels: tuple[str, ...]  # none: all
    rate: int | None  # samples/s
    samples: int | None
    seconds: float | None
    triggers: Mapping[str, str] = field(default_factory=dict)
    from_trigger: bool = False
    group: str | None = None
    options: Mapping[str, Value] = field(default_factory=dict)

    @property
    def duration(self) -> float:
        """The time of the samples (s), 0 where it cannot be known."""
        if self.seconds is not None:
            return self.seconds
        return (self.samples or 0) / self.rate if self.rate else 0.0


@dataclass(frozen=True)
class Captured:
    """What came of a capture."""

    data: bytes  # sigrok's session format
    capture: Capture
    started: float  # Unix s
    ended: float  # Unix s
    trigger: int | None  # samples before it
    messages: Sequence[str]
    limit: str | None  # which limit has ended it


class Annotations(msgspec.Struct, frozen=True):
    """What the decoders found."""

    found: list[Annotation]
    left_out: int  # beyond the limit
    skipped: int  # lines of the program that are none


def arguments(
    wanted: Wanted,
    channels: Sequence[str],
    options: Mapping[str, Value],
    file: Path,
) -> list[str]:
    """Return the command line of a capture into a file."""
    words = ["-O", "srzip", "-o", str(file)]
    if wanted.triggers:
        words += ["-l", "4"]  # the log says where the trigger was
        chosen = wanted.triggers.items()
        words += ["-t", ",".join(f"{name}={match}" for name, match in chosen)]
    if wanted.from_trigger:
        words.append("-w")
    if wanted.group is not None:
        words += ["-g", wanted.group]
    if options:
        pairs = [f"{key}={text_of(value)}" for key, value in options.items()]
        words += ["-c", ":".join(pairs)]
    if channels:
        words += ["-C", ",".join(channels)]
    if wanted.samples is not None:
        return [*words, "--samples", str(wanted.samples)]
    milliseconds = math.ceil(1000 * (wanted.seconds or 0))  # it takes whole ones
    return [*words, "--time", str(max(1, milliseconds))]


def packed(
    channels: Sequence[str], names: Sequence[str], logic: Sequence[str]
) -> tuple[str, ...]:
    """Return what to enable so that no logic channel before the wanted ones is off."""
    if not channels:
        return ()
    ordered = [each for each in names if each in logic]
    last = -1
    for place, name in enumerate(ordered):
        if name in channels:
            last = place
    before = ordered[: last + 1]
    return tuple(each for each in names if each in before or each in channels)


def text_of(value: Value) -> str:
    """Return an option as sigrok-cli reads it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        if not value or any(each in value for each in ":=") or not value.isprintable():
            raise BadRequest(f"{value!r:.60} cannot be an option of sigrok-cli")
        return value
    if not math.isfinite(value):
        raise OutOfRange(f"{value} is no number")
    return str(int(value)) if float(value).is_integer() else repr(float(value))
