"""The configuration of the CAN bridge."""

import pathlib
import re
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from busbar import config
from busbar.codecs import slcan
from busbar.codecs.can import EXTENDED_IDS, FD_LENGTHS, STANDARD_IDS, Mask
from busbar.errors import OutOfRange

Seconds = Annotated[float, Meta(gt=0, le=86400)]
Pause = Annotated[float, Meta(ge=0, le=86400)]
Id = Annotated[int, Meta(ge=0, le=EXTENDED_IDS)]
Bitrate = Annotated[int, Meta(ge=1000, le=20_000_000)]  # bit/s
Node = Annotated[int, Meta(ge=0, le=0x7E)]
Direction = Literal["both", "receive", "send"]
Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-][A-Za-z0-9_-]{0,63}(?!\n)$")]
Path = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-][A-Za-z0-9_-]{0,63}(/[A-Za-z0-9-][A-Za-z0-9_-]{0,63})*(?!\n)$")]

OWN = ("socket", "slcan", "usrcanet", "loopback")  # interfaces that are driven here; python-can has the others
_PCAN = re.compile(r"(usb|pci|lan|isa|dng|pcc)(?:bus)?(\d{1,2})", re.IGNORECASE)


class Place(msgspec.Struct, frozen=True):
    """What an address says: the interface, its channel, the bit rate where it is there."""

    interface: str
    channel: str
    bitrate: int | None = None  # bit/s


def place(address: str) -> Place:
    """Return what `can::INTERFACE::CHANNEL::BITRATE` says; raise ValueError."""
    scheme, *parts = address.split("::")
    if scheme != "can" or not 1 <= len(parts) <= 3 or not all(parts):
        raise ValueError(
            f"address: {address!r} is not can::socket::can0, can::slcan::/dev/ttyACM0::500000, can::pcan::usb1::125000,"
            " can::usrcanet::HOST:PORT, can::loopback, can::virtual::NAME or can::INTERFACE::CHANNEL::BITRATE"
        )
    interface = {"socketcan": "socket"}.get(parts[0], parts[0])
    if interface == "usrcanet" and len(parts) == 3:
        parts = [interface, f"{parts[1]}:{parts[2]}"]
    if (interface == "loopback") != (len(parts) == 1):
        raise ValueError(
            f"address: {address!r}: {'there is one loopback' if interface == 'loopback' else 'no channel'}"
        )
    channel = parts[1] if len(parts) > 1 else ""
    found = Place(interface, _channel(interface, channel), _bitrate(parts[2]) if len(parts) > 2 else None)
    if interface == "usrcanet":
        endpoint(found.channel)
    return found


def _channel(interface: str, channel: str) -> str:
    if interface == "socket" and (len(channel) > 15 or "/" in channel or channel.split() != [channel]):
        raise ValueError(f"address: {channel!r} is no name of a network interface")
    named = _PCAN.fullmatch(channel) if interface == "pcan" else None
    return f"PCAN_{named[1].upper()}BUS{int(named[2])}" if named else channel


def _bitrate(text: str) -> int:
    if not text.isdecimal() or not 1000 <= int(text) <= 20_000_000:
        raise ValueError(f"address: bit rate {text!r} is not 1000 to 20000000 bit/s")
    return int(text)


def endpoint(channel: str) -> tuple[str, int]:
    """Return host and port of a USR-CANET200; raise ValueError."""
    host, _, port = channel.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"address: {channel!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frames whose identifier agrees with `id` in the bits of `mask`."""

    id: Id
    mask: Id = EXTENDED_IDS
    extended: bool | None = None  # None: 29 bits if `id` needs them

    @property
    def read(self) -> Mask:
        extended = self.id > STANDARD_IDS if self.extended is None else self.extended
        return Mask(self.id, self.mask & (EXTENDED_IDS if extended else STANDARD_IDS), extended)


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
        names = [group.name for group in self.groups]
        if len(set(names)) < len(names):
            raise ValueError(f"groups: two groups are named {max(names, key=names.count)!r}")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What holds for signals; of several rules that match a signal the first one counts."""

    match: str  # pattern of Message/Signal as the database names them
    min_interval: Pause | None = None  # s between reports
    max_silence: Pause | None = None  # s after which an unchanged value is reported again
    deadband: Annotated[float, Meta(ge=0)] = 0.0
    direction: Direction = "both"
    cycle: Seconds | None = None  # s: a set is repeated until `stop_periodic`


class Signals(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How signals of the databases are published and sent."""

    min_interval: Pause = 0.1
    max_silence: Pause = 0.0
    rules: tuple[Rule, ...] = ()


class Signal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A signal of a message that is described here, without a database."""

    name: str
    start: Annotated[int, Meta(ge=0, le=511)]  # bit, as DBC counts
    length: Annotated[int, Meta(ge=1, le=64)]  # bits
    byte_order: Literal["little", "big"] = "little"
    type: Literal["unsigned", "signed", "float"] = "unsigned"
    scale: float = 1
    offset: float = 0
    minimum: float | None = None
    maximum: float | None = None
    unit: str | None = None
    choices: dict[str, int] = {}  # name -> raw value
    title: str | None = None


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A message that is described here, without a database."""

    name: str
    id: Id
    extended: bool = False
    length: Annotated[int, Meta(ge=0, le=64)] = 8  # bytes
    signals: tuple[Signal, ...] = ()

    def __post_init__(self) -> None:
        if self.length not in FD_LENGTHS:
            raise ValueError(f"length: {self.length} is not one of {', '.join(map(str, FD_LENGTHS))}")
        if self.id > STANDARD_IDS and not self.extended:
            raise ValueError(f"id: 0x{self.id:X} has more than 11 bits; `extended: true` allows 29")


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A GCT reading that is decoded, for every node."""

    group: Annotated[int, Meta(ge=0, le=31)]
    reading: Annotated[int, Meta(ge=0, le=63)]
    name: Path
    format: Annotated[str, Meta(max_length=20)]  # of Python's struct, one value, such as <f
    unit: str | None = None


class Gct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """GCT: who we are, and its nodes as devices."""

    address: Node = 0x7E
    ddp_version: Literal[1, 2] = 2
    devices: bool = True  # nodes that send heartbeats become devices
    silence: Seconds = 5.0  # s without a heartbeat after which a node is offline
    readings: tuple[Reading, ...] = ()


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
    restart: Seconds | None = None  # s after bus-off until the bus is opened anew
    frames: Frames = Frames()
    messages: tuple[Message, ...] = ()
    signals: Signals = Signals()
    names: dict[str, Path] = {}  # Message/Signal -> path
    protocols: tuple[Literal["gct"], ...] = ()
    gct: Gct = Gct()

    def __post_init__(self) -> None:
        if self.name == "bridge":
            raise ValueError("name: 'bridge' is the bridge itself; choose another")
        where = place(self.address)
        if None not in (where.bitrate, self.bitrate) and where.bitrate != self.bitrate:
            raise ValueError(f"bitrate: {self.bitrate}, and the address says {where.bitrate}")
        if self.fd and where.interface == "usrcanet":
            raise ValueError("fd: a USR-CANET200 has no CAN FD")
        if self.data_bitrate is not None and not self.fd:
            raise ValueError("data_bitrate: only with fd: true")
        if where.interface == "slcan":
            try:
                slcan.opening(self.rate, self.data_bitrate)
            except OutOfRange as error:
                raise ValueError(str(error)) from error

    @property
    def rate(self) -> int | None:
        """Bit/s, from the address or the key."""
        return place(self.address).bitrate or self.bitrate

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

    database: str | tuple[str, ...] = ()  # files (DBC, KCD, SYM, ARXML), from the configuration's own folder
    options: dict[str, str | int | float | bool] = {}  # passed to python-can's Bus

    @property
    def databases(self) -> tuple[str, ...]:
        return (self.database,) if isinstance(self.database, str) else self.database


class Config(config.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file of can-bridge."""

    devices: tuple[Device, ...] = ()

    def __post_init__(self) -> None:
        config.check_names(device.name for device in self.devices)
        seen: dict[Any, str] = {}
        for device in self.devices:
            where = place(device.address)
            key = (where.interface, where.channel)
            if where.interface not in ("loopback", "virtual") and key in seen:
                raise ValueError(f"devices: {seen[key]!r} and {device.name!r} have one address: {device.address}")
            seen[key] = device.name

    def within(self, folder: pathlib.Path) -> Self:
        devices = [
            replace(device, database=tuple(str(folder / file) for file in device.databases)) for device in self.devices
        ]
        return replace(super().within(folder), devices=tuple(devices))
