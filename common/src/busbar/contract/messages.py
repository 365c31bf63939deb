"""The wire messages of the MQTT contract, version 1.

The only module that knows payload shapes.

Source: docs/contract.md; the numbers in the docstrings are its sections. Topics are in
`topics`.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from busbar.contract import mistakes
from busbar.errors import BadRequest, BusbarError

CONTRACT = 1
COMMAND_LIMIT = 256 * 1024  # bytes of a command's payload (2)
MESSAGE_LIMIT = 1024 * 1024  # bytes of anything we publish (3)
DEPTH_LIMIT = 16
LONGEST = 86400  # s that a command may ask for anything
# nodes of one command: bounds the work that one message can ask for
STRUCTURE_LIMIT = 20_000


StatusState = Literal["connecting", "online", "offline", "stopped"]


class Fault(msgspec.Struct, frozen=True):
    """Reason why something is bad: a code (3.5, `stale`, ...) and a sentence."""

    code: str
    message: str


class Status(msgspec.Struct, frozen=True):
    """3.1: the availability of a device, or of the bridge itself (its Last Will)."""

    state: StatusState
    since: float | None
    boot: str
    revision: int
    seq: int
    reason: Fault | None = None


class PropertyInfo(msgspec.Struct, frozen=True, rename={"class_": "class"}):
    """3.2: one property, or a family of them when its path has `{parameters}`."""

    schema: dict[str, Any]
    access: Literal["r", "w", "rw"]
    title: str | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    group: str | UnsetType = UNSET
    class_: str | UnsetType = UNSET
    readback: str | UnsetType | None = UNSET
    default: Any = UNSET
    original: str | UnsetType = UNSET
    # JSON Schema of a shorter form that a set takes, too
    short: dict[str, Any] | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET


class CommandInfo(msgspec.Struct, frozen=True):
    """3.2: one command with the JSON Schemas of its arguments and result."""

    title: str
    arguments: dict[str, Any]
    result: dict[str, Any]
    timeout: float
    safe: bool
    holds: Literal["exchange", "until_done"]


class EventInfo(msgspec.Struct, frozen=True):
    """3.2: one event or blob."""

    title: str
    schema: dict[str, Any] | UnsetType = UNSET
    content_type: str | UnsetType = UNSET
    encoding: str | UnsetType = UNSET


class Info(msgspec.Struct, frozen=True):
    """3.2: what a device is and offers; everything else is made from it."""

    contract: int
    bridge: str
    device: str
    kind: str
    revision: int
    properties: dict[str, PropertyInfo]
    commands: dict[str, CommandInfo]
    events: dict[str, EventInfo]
    blobs: dict[str, EventInfo]
    boot: str
    name: str | UnsetType = UNSET
    manufacturer: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    serial: str | UnsetType = UNSET
    firmware: str | UnsetType = UNSET
    address: str | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    # properties that the snapshot, or this, had no room for
    truncated: int | UnsetType = UNSET


class State(msgspec.Struct, frozen=True):
    """3.3: the snapshot of a device; not in `bad` means confirmed within its period."""

    boot: str
    seq: int
    time: float
    values: dict[str, Any]
    bad: dict[str, Fault]
    times: dict[str, float] | UnsetType = UNSET


class Change(msgspec.Struct, frozen=True):
    """3.4: one transition of one property; `bad: null` says that it recovered."""

    path: str
    time: float
    value: Any = UNSET
    bad: Fault | UnsetType | None = UNSET
    gone: bool | UnsetType = UNSET


class Event(msgspec.Struct, frozen=True):
    """3.4: the head of every event; the event's own fields stand beside it."""

    boot: str
    seq: int
    time: float


class ChangeEvent(Event, frozen=True):
    """3.4: event/change, the lossless history of `state`."""

    changes: list[Change]


class ProgressEvent(Event, frozen=True):
    """3.4: event/progress of a long command."""

    id: str | int | None
    target: str
    fraction: float | None
    message: str


class LogEvent(Event, frozen=True):
    """4: event/log of the bridge, from WARNING up."""

    level: str
    logger: str
    message: str
    device: str | None


class ReplyError(msgspec.Struct, frozen=True):
    """3.5: why a command failed, in words for people and codes for programs."""

    code: str
    message: str
    retryable: bool
    detail: dict[str, Any]

    @classmethod
    def of(cls, error: BusbarError) -> "ReplyError":
        made = cls(error.code, error.message, error.retryable, error.detail)
        try:
            encode(made)
        except (TypeError, ValueError):
            # a session's detail that JSON cannot say: the rest can be said
            return cls(error.code, error.message, error.retryable, {})
        return made


class Reply(msgspec.Struct, frozen=True):
    """3.5: the outcome of one command."""

    bridge: str
    device: str
    id: str | int | None
    target: str
    ok: bool
    time: float
    took: float
    result: Any = UNSET
    error: ReplyError | UnsetType = UNSET
    # bytes of a result that only the private reply carries
    size: int | UnsetType = UNSET
    # warnings and errors that the device said meanwhile
    messages: tuple[str, ...] | UnsetType = UNSET


class Lease(msgspec.Struct, frozen=True):
    """2: result of `lock`: the token for `_lease`, and its end (Unix s)."""

    lease: str
    until: float


class Metadata(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename=lambda name: f"_{name}",
):
    """2: the optional keys with a leading underscore."""

    id: Annotated[str, Meta(max_length=256)] | int | None = None
    reply: str | None = None
    ttl: Annotated[float, Meta(ge=0, le=LONGEST)] | None = None  # s
    sent: float | None = None  # Unix s
    timeout: Annotated[float, Meta(gt=0, le=LONGEST)] | None = None  # s
    wait: Annotated[float, Meta(ge=0, le=LONGEST)] | None = None  # s
    lease: str | None = None


METADATA = frozenset(field.encode_name for field in msgspec.structs.fields(Metadata))


_MAP_HEADS = frozenset(bytes([head]) for head in (*range(0x80, 0x90), 0xDE, 0xDF))


def is_msgpack_map(payload: bytes) -> bool:
    return payload[:1] in _MAP_HEADS


def decode(payload: bytes) -> Any:
    """Return a JSON value or MessagePack map.

    Raise BadRequest when malformed, too deep or not finite (2).
    """
    read = msgspec.msgpack.decode if is_msgpack_map(payload) else msgspec.json.decode
    try:
        value: Any = read(payload)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise BadRequest(f"cannot read {shown(payload)}: {error}") from error
    _check(value)
    return value


def shown(payload: bytes) -> str:
    """Return a payload for an error message: short, printable."""
    text = payload[:40].decode(errors="replace")
    return repr(text) if len(payload) <= 40 else f"{text!r}... ({len(payload)} bytes)"


def _check(value: Any) -> None:
    stack: list[tuple[Any, int]] = [(value, 1)]
    nodes = 0
    while stack:
        item, depth = stack.pop()
        nodes += 1
        if depth > DEPTH_LIMIT or nodes > STRUCTURE_LIMIT:
            raise BadRequest(
                f"more than {DEPTH_LIMIT} levels deep or {STRUCTURE_LIMIT} values "
                "in one command"
            )
        if isinstance(item, dict):
            if not all(isinstance(key, str) for key in item):
                raise BadRequest("keys of a map must be text")
            stack.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list):
            stack.extend((child, depth + 1) for child in item)
        elif isinstance(item, float) and not (abs(item) < float("inf")):
            raise BadRequest("numbers must be finite")
        elif not isinstance(item, str | int | float | bytes | None):
            raise BadRequest(f"{type(item).__name__} is not a JSON type")


def take_metadata(fields: dict[str, Any]) -> tuple[dict[str, Any], Metadata]:
    """Split an object into its own fields and the metadata.

    Raise BadRequest for metadata of a wrong type.
    """
    own: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for key, value in fields.items():
        part = given if key in METADATA else own
        part[key] = value
    try:
        return own, msgspec.convert(given, Metadata)
    except msgspec.ValidationError as error:
        mistake = mistakes.find(given, msgspec.inspect.type_info(Metadata))
        raise BadRequest(str(mistake or error)) from error


encode = msgspec.json.Encoder().encode
# equal values, equal bytes
canonical = msgspec.json.Encoder(order="deterministic").encode
