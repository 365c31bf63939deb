"""Elements of INDI: one small struct for each.

Source: INDI 1.7; docs/protocols/indi.md, 2.

Values are text as on the wire: a number such as `-12:30:00`, On or Off of a switch, a
timestamp.
"""

from typing import Literal

from msgspec import Struct

Kind = Literal["Text", "Number", "Switch", "Light", "BLOB"]
KINDS: tuple[Kind, ...] = ("Text", "Number", "Switch", "Light", "BLOB")
STATES = ("Idle", "Ok", "Busy", "Alert")
PERMS = ("ro", "wo", "rw")
RULES = ("OneOfMany", "AtMostOne", "AnyOfMany")
POLICIES = ("Never", "Also", "Only")  # of a client for BLOBs


class DefMember(Struct, frozen=True):
    """A member of a definition; `format` to `step` are those of a number."""

    name: str
    label: str = ""
    value: str = ""
    format: str = ""
    min: str = ""
    max: str = ""
    step: str = ""


class DefVector(Struct, frozen=True):
    """The definition of a property."""

    kind: Kind
    device: str
    name: str
    members: tuple[DefMember, ...]
    label: str = ""
    group: str = ""
    state: str = "Idle"
    perm: str = "rw"
    rule: str = ""
    timeout: float = 0.0  # s at worst; 0 = at once, or unknown
    timestamp: str = ""
    message: str = ""


class Range(Struct, frozen=True):
    """Bounds that come with a set; "" = as before."""

    min: str = ""
    max: str = ""
    step: str = ""


class SetVector(Struct, frozen=True):
    """New values of some members or none; the value of a BLOB is its format."""

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
    """A BLOB for a driver; `size` is the size before compression."""

    data: bytes
    format: str
    size: int


class NewVector(Struct, frozen=True):
    """Values that a client asks for; a BLOB that was read has its format as value."""

    kind: Kind
    device: str
    name: str
    members: dict[str, str]
    timestamp: str = ""
    blobs: dict[str, NewBlob] | None = None  # to be written


class Message(Struct, frozen=True):
    text: str
    device: str = ""
    timestamp: str = ""


class DelProperty(Struct, frozen=True):
    """A property that is gone; with name "" the whole device."""

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
    value: str  # one of POLICIES
    name: str = ""


class PingRequest(Struct, frozen=True):
    uid: str


class PingReply(Struct, frozen=True):
    uid: str


class BlobStart(Struct, frozen=True):
    """The start of a member whose bytes follow.

    Size 0 and no bytes: the vector has a new state and no image.
    """

    device: str
    vector: str
    member: str
    size: int  # bytes, uncompressed
    format: str


class BlobData(Struct, frozen=True):
    data: bytes


class BlobEnd(Struct, frozen=True):
    """The end of a member's bytes; `error` says why they are not whole."""

    error: str = ""


class Skipped(Struct, frozen=True):
    """Input that was skipped: why, and how it began (at most 100 bytes)."""

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
