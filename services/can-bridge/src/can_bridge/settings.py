"""Configuration of the CAN bridge."""

import pathlib
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from busbar.bridge import config
from busbar.bridge.errors import OutOfRange
from busbar.codecs import slcan
from busbar.codecs.can import (
    CLASSIC_BYTES,
    EXTENDED_IDS,
    FD_LENGTHS,
    STANDARD_IDS,
    Mask,
    highest_id,
    is_extended,
)
from can_bridge.address import parse_address

Seconds = Annotated[float, Meta(gt=0, le=86400)]
Pause = Annotated[float, Meta(ge=0, le=86400)]
Id = Annotated[int, Meta(ge=0, le=EXTENDED_IDS)]
Bitrate = Annotated[int, Meta(ge=1000, le=20_000_000)]  # bit/s
Node = Annotated[int, Meta(ge=0, le=0x7E)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Direction = Literal["both", "receive", "send"]
Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-][A-Za-z0-9_-]{0,63}(?!\n)$")]
Path = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9-][A-Za-z0-9_-]{0,63}"
        r"(/[A-Za-z0-9-][A-Za-z0-9_-]{0,63})*(?!\n)$"
    ),
]

FLOAT_BITS = (16, 32, 64)


def check_id(id: int, extended: bool | None) -> None:
    """Raise ValueError for an identifier that has too many bits."""
    if id > STANDARD_IDS and extended is False:
        raise ValueError(
            f"id: 0x{id:X} has more than 11 bits; `extended: true` allows 29"
        )


def check_different(what: str, names: Sequence[str]) -> None:
    """Raise ValueError if two have one name."""
    if len(set(names)) < len(names):
        raise ValueError(f"{what}: two are named {max(names, key=names.count)!r}")


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frames whose identifier agrees with `id` in the bits of `mask`."""

    id: Id
    mask: Id = EXTENDED_IDS
    extended: bool | None = None  # None: 29 bits if `id` needs them

    def __post_init__(self) -> None:
        check_id(self.id, self.extended)

    @property
    def read(self) -> Mask:
        extended = is_extended(self.id, self.extended)
        return Mask(self.id, self.mask & highest_id(extended), extended)


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One more selection of frames, on `event/frames/NAME`."""

    name: Word
    publish: Literal["batched", "single"] = "batched"
    flush: Pause = 0.02  # s
    encoding: Literal["msgpack", "json"] = "msgpack"
    filters: tuple[Filter, ...] = ()


class Frames(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How raw frames are published."""

    publish: Literal["batched", "single", "none"] = "batched"
    flush: Pause = 0.02  # s that a batch gathers at most
    encoding: Literal["msgpack", "json"] = "msgpack"  # of batches
    filters: tuple[Filter, ...] = ()  # none: all
    groups: tuple[Group, ...] = ()
    last: bool = False  # state/_rx/<id>
    last_interval: Pause = 1.0  # s between two of one id

    def __post_init__(self) -> None:
        check_different("groups", [group.name for group in self.groups])


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of the signals that match; of several rules the first one counts."""

    match: str  # pattern of Message/Signal as the database names them
    min_interval: Pause | None = None  # s between reports
    # s after which an unchanged value is reported again
    max_silence: Pause | None = None
    max_age: Pause | None = None  # s without its message after which a signal is stale
    deadband: Annotated[float, Meta(ge=0)] = 0.0
    direction: Direction = "both"
    cycle: Seconds | None = None  # s: a set is repeated until `stop_periodic`


class Signals(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How signals of the databases are published and sent."""

    min_interval: Pause = 0.1
    max_silence: Pause = 0.0
    max_age: Pause = 0.0
    # ignore: the minima and maxima of the databases are placeholders
    ranges: Literal["check", "ignore"] = "check"
    rules: tuple[Rule, ...] = ()


class Signal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A signal of a message that is described here, without a database."""

    name: Name
    start: Annotated[int, Meta(ge=0, le=511)]  # bit, as DBC counts
    length: Annotated[int, Meta(ge=1, le=64)]  # bits
    byte_order: Literal["little", "big"] = "little"
    type: Literal["unsigned", "signed", "float"] = "unsigned"
    scale: float = 1
    offset: float = 0
    minimum: float | None = None
    maximum: float | None = None
    unit: str | None = None
    choices: dict[int, str] = {}  # raw value -> name
    title: str | None = None

    def __post_init__(self) -> None:
        if not self.scale:
            raise ValueError("scale: 0 makes every value the same")
        config.check_choices(self.choices)
        if self.type == "float" and self.length not in FLOAT_BITS:
            allowed = ", ".join(map(str, FLOAT_BITS))
            raise ValueError(f"length: a float has {allowed} bits, not {self.length}")


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A message that is described here, without a database."""

    name: Name
    id: Id
    extended: bool = False
    length: Annotated[int, Meta(ge=0, le=64)] = 8  # bytes
    signals: tuple[Signal, ...] = ()

    def __post_init__(self) -> None:
        if self.length not in FD_LENGTHS:
            allowed = ", ".join(map(str, FD_LENGTHS))
            raise ValueError(f"length: {self.length} is not one of {allowed}")
        check_id(self.id, self.extended)
        check_different("signals", [signal.name for signal in self.signals])


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A GCT reading that is decoded, for every node."""

    group: Annotated[int, Meta(ge=0, le=31)]
    reading: Annotated[int, Meta(ge=0, le=63)]
    name: Path
    # of Python's struct, one number of up to 8 bytes, such as <f
    format: Annotated[str, Meta(max_length=20)]
    unit: str | None = None

    def __post_init__(self) -> None:
        if self.name == "product":
            raise ValueError("name: 'product' is the node's product id; choose another")
        try:
            is_number = _is_number(self.format)
        except struct.error as error:
            raise ValueError(f"format: {self.format!r}: {error}") from error
        if not is_number:
            raise ValueError(
                f"format: {self.format!r} is not one number of up to "
                f"{CLASSIC_BYTES} bytes, such as <f"
            )


def _is_number(form: str) -> bool:
    """True if a format is that of one number that fits a frame; raise struct.error."""
    size = struct.calcsize(form)
    if size > CLASSIC_BYTES:
        return False
    values = struct.unpack(form, bytes(size))
    return len(values) == 1 and isinstance(values[0], int | float)


class Gct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """GCT: who we are, and its nodes as devices."""

    address: Node = 0x7E
    ddp_version: Literal[1, 2] = 2
    devices: bool = True  # nodes that send heartbeats become devices
    silence: Seconds = 5.0  # s without a heartbeat after which a node is offline
    readings: tuple[Reading, ...] = ()

    def __post_init__(self) -> None:
        check_different("readings", [reading.name for reading in self.readings])
        places = [
            f"group {each.group} reading {each.reading}" for each in self.readings
        ]
        check_different("readings", places)


class Opened(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One CAN bus, as the command `open` takes it: nothing that names a file."""

    name: config.Name
    address: str
    title: str | None = None
    bitrate: Bitrate | None = None  # bit/s, unless the address says it
    fd: bool = False
    data_bitrate: Bitrate | None = None  # bit/s of the data phase of CAN FD
    listen_only: bool = False
    direction: Direction = "both"
    receive_own: bool | None = None  # None: only on the loopback
    buffer: config.Size = 8 * 1024 * 1024  # bytes of the socket's receive buffer
    send_timeout: Seconds = 1.0  # s to wait for room in the interface's send queue
    restart: Seconds | None = None  # s after bus-off until the bus is opened again
    frames: Frames = Frames()
    messages: tuple[Message, ...] = ()
    signals: Signals = Signals()
    names: dict[str, Path] = {}  # Message/Signal -> path
    protocols: tuple[Literal["gct"], ...] = ()
    gct: Gct = Gct()

    def __post_init__(self) -> None:
        check_different("messages", [message.name for message in self.messages])
        if self.name == "bridge":
            raise ValueError("name: 'bridge' is the bridge itself; choose another")
        address = parse_address(self.address)
        if self.bitrate is not None and address.bitrate not in (None, self.bitrate):
            raise ValueError(
                f"bitrate: {self.bitrate}, and the address says {address.bitrate}"
            )
        if self.fd and address.interface == "usrcanet":
            raise ValueError("fd: a USR-CANET200 has no CAN FD")
        if self.data_bitrate is not None and not self.fd:
            raise ValueError("data_bitrate: only with fd: true")
        if address.interface == "slcan":
            try:
                slcan.opening(self.rate, self.data_bitrate)
            except OutOfRange as error:
                raise ValueError(str(error)) from error

    @property
    def rate(self) -> int | None:
        """Bit/s, from the address or the key."""
        return parse_address(self.address).bitrate or self.bitrate

    @property
    def databases(self) -> tuple[str, ...]:
        """Files."""
        return ()

    @property
    def sends(self) -> bool:
        return self.direction != "receive" and not self.listen_only

    @property
    def receives(self) -> bool:
        return self.direction != "send"


class Device(Opened, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One CAN bus."""

    # files (DBC, KCD, SYM, ARXML), from the configuration's own folder
    database: str | tuple[str, ...] = ()
    options: dict[str, str | int | float | bool] = {}  # passed to python-can's Bus

    @property
    def databases(self) -> tuple[str, ...]:
        if isinstance(self.database, str):
            return (self.database,)
        return self.database


class Config(config.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file of can-bridge."""

    devices: tuple[Device, ...] = ()

    def __post_init__(self) -> None:
        config.check_names(device.name for device in self.devices)
        seen: dict[Any, str] = {}
        for device in self.devices:
            address = parse_address(device.address)
            key = (address.interface, address.channel)
            if address.interface not in ("loopback", "virtual") and key in seen:
                raise ValueError(
                    f"devices: {seen[key]!r} and {device.name!r} have one address: "
                    f"{device.address}"
                )
            seen[key] = device.name

    def within(self, folder: pathlib.Path) -> Self:
        devices = tuple(_within(device, folder) for device in self.devices)
        return replace(super().within(folder), devices=devices)


def _within(device: Device, folder: pathlib.Path) -> Device:
    files = [str(folder / file) for file in device.databases]
    return replace(device, database=tuple(files))
