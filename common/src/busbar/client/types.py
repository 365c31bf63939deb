"""Values that the client hands out: immutable, JSON-ready.

Source: docs/contract.md, 3.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec

from busbar.contract import messages
from busbar.contract.messages import Fault, Info
from busbar.errors import BY_CODE, BusbarError, LinkLost


class Options(TypedDict, total=False):
    """How a command is sent; None stands for absent. See `DeviceView.set`."""

    ttl: float | None
    wait: float | None
    timeout: float | None
    deadline: float | None
    id: str | None  # the contract's word
    lease: str | None


class LockOptions(TypedDict, total=False):
    """How a device is locked. See `DeviceView.lock`."""

    ttl: float | None
    owner: str
    wait: float
    scope: Literal["device", "channel"] | None
    polls: bool | None
    timeout: float | None
    deadline: float | None


class Stale(Exception):
    """A value is not to be trusted.

    `fault` says why: `link`, `offline`, `unconfirmed`, `gap`, `unknown`, `contract`, or
    the code of the device or the property.
    """

    def __init__(self, what: str, fault: Fault) -> None:
        super().__init__(f"{what}: {fault.message}")
        self.fault = fault


class NotConnected(LinkLost):
    """There is no connection to the broker.

    As with any LinkLost, a command that was under way may have been done.
    """


class LeaseLost(Exception):
    """A lock could not be renewed: somebody else may have the device."""


class Change(NamedTuple):
    """One transition of one property.

    `value` and `old` are JSON values, None where there is none; `time` is Unix time (s)
    of the reading; `stale` is None or why the value is not to be trusted any more.
    """

    device: str
    path: str
    value: Any
    time: float
    old: Any = None
    stale: Fault | None = None


class Reading(NamedTuple):
    """What is known of one property: `stale` is None or why it is not to be trusted."""

    value: Any
    time: float | None  # Unix s of the last change
    stale: Fault | None = None


class Event(NamedTuple):
    """Something that happened at a device; `fields` are the event's own."""

    device: str
    name: str
    time: float
    fields: Mapping[str, Any]
    seq: int


class Blob(NamedTuple):
    """Binary data of a device."""

    device: str
    name: str
    data: bytes
    content_type: str | None
    time: float  # Unix s of arrival


class Presence(NamedTuple):
    """How a device is now.

    `connecting`, `online`, `offline`, `stopped`, or `gone` when it was removed.
    """

    device: str
    state: str
    reason: Fault | None = None


class Gap(NamedTuple):
    """Messages that did not reach us: how many (None: unknown), on what, and why."""

    device: str
    channel: str
    missed: int | None
    reason: str


class Note(NamedTuple):
    """A line for people: of a bridge's log, or of `report`."""

    time: float
    level: str
    text: str
    device: str | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """All that is known of one device at one moment; it never changes."""

    device: str
    state: str
    time: float
    values: dict[str, Any]
    times: dict[str, float]
    bad: dict[str, Fault]
    stale: Fault | None = None  # why none of it is to be trusted
    info: Info | None = None
    notes: dict[str, str] = {}

    def dumps(self) -> str:
        """Return it as JSON."""
        return messages.encode(self).decode()

    def dump(self, path: str | Path) -> None:
        """Write it to a file as JSON; raise OSError."""
        Path(path).write_bytes(messages.encode(self))

    @classmethod
    def loads(cls, text: str | bytes) -> "Snapshot":
        """Read what `dumps` has made; raise ValueError."""
        return msgspec.json.decode(text, type=cls)

    @classmethod
    def load(cls, path: str | Path) -> "Snapshot":
        """Read what `dump` has written; raise OSError, ValueError."""
        return cls.loads(Path(path).read_bytes())


def error_of(failed: messages.ReplyError) -> BusbarError:
    """Return the typed error of an outcome."""
    error = BY_CODE.get(failed.code, BusbarError)(failed.message)
    error.detail = failed.detail
    return error
