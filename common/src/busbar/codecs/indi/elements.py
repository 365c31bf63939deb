"""What INDI 1.7 can say: one small struct per element.

Source: reference of the protocol, version 1.7, and indiserver.

Texts are as the wire has them: numbers are text (`-12:30:00` is one), a switch is On or
Off. `timestamp` is text, too.
"""

from typing import Literal

from msgspec import Struct

Kind = Literal["Text", "Number", "Switch", "Light", "BLOB"]
KINDS: tuple[Kind, ...] = ("Text", "Number", "Switch", "Light", "BLOB")
States = Literal["Idle", "Ok", "Busy", "Alert"]
STATES: tuple[States, ...] = ("Idle", "Ok", "Busy", "Alert")
PERMS = ("ro", "wo", "rw")
RULES = ("OneOfMany", "AtMostOne", "AnyOfMany")


class DefMember(Struct, frozen=True):
    """A member as it is defined; `format` to `step` are a number's."""

    name: str
    label: str = ""
    value: str = ""
    format: str = ""
    min: str = ""
    max: str = ""
    step: str = ""


class DefVector(Struct, frozen=True):
    """A property is there."""

    kind: Kind
    device: str
    name: str
    members: tuple[DefMember, ...]
    label: str = ""
    group: str = ""
    state: str = "Idle"
    perm: str = "rw"
    rule: str = ""
    timeout: float = 0.0  # s, at worst; 0 = at once, or not known
    timestamp: str = ""
    message: str = ""


class Range(Struct, frozen=True):
    """Bounds that a set brings along; "" = as before."""

    min: str = ""
    max: str = ""
    step: str = ""


class SetVector(Struct, frozen=True):
    """New values of some members, perhaps of none; of a BLOB the value is its format."""

    kind: Kind
    device: str
    name: str
    members: dict[str, str]
    state: str | None = None
    timeout: float | None = None
    timestamp: str = ""
    message: str = ""
    ranges: dict[str, Range] | None = None


class NewBlob(Struct, frozen=True):
    """A BLOB for a driver; `size` is that before compression."""

    data: bytes
    format: str
    size: int


class NewVector(Struct, frozen=True):
    """A client asks for values; of a BLOB the value is its format when read."""

    kind: Kind
    device: str
    name: str
    members: dict[str, str]
    timestamp: str = ""
    blobs: dict[str, NewBlob] | None = None  # to write


class Message(Struct, frozen=True):
    text: str
    device: str = ""
    timestamp: str = ""


class DelProperty(Struct, frozen=True):
    """A property is gone; with name "" the whole device."""

    device: str
    name: str = ""
    timestamp: str = ""
    message: str = ""


class GetProperties(Struct, frozen=True):
    device: str = ""
    name: str = ""
    version: str = "1.7"


class EnableBLOB(Struct, frozen=True):
    device: str
    value: str  # Never, Also, Only
    name: str = ""


class PingRequest(Struct, frozen=True):
    uid: str


class PingReply(Struct, frozen=True):
    uid: str


class BlobStart(Struct, frozen=True):
    """A member's bytes follow.

    Size 0 and no bytes: only the state of the vector is news.
    """

    device: str
    vector: str
    member: str
    size: int  # bytes, uncompressed
    format: str


class BlobData(Struct, frozen=True):
    data: bytes


class BlobEnd(Struct, frozen=True):
    """All bytes have come, or `error` says why they have not."""

    error: str = ""


class Skipped(Struct, frozen=True):
    """Something that cost its own element: why, and how it began (at most 100 bytes)."""

    why: str
    data: bytes


Element = (
    DefVector
    | SetVector
    | NewVector
    | Message
    | DelProperty
    | GetProperties
    | EnableBLOB
    | PingRequest
    | PingReply
    | BlobStart
    | BlobData
    | BlobEnd
    | Skipped
)
