"""Messages of GCT and their frames. Source: docs/protocols/gct.md, 2 and 3.

Identifier bits: 28..25 type, 24..18 source, 17..11 destination, 10..0 type data. What
the original cuts off silently is refused here.
"""

from collections.abc import Iterator

import msgspec

from busbar.codecs.gct.ddp import Ddp, parts
from busbar.errors import OutOfRange

BROADCAST = 0x7F
SYSCTRL = 1
MONITORING_DATA = 7
MONITORING_REQUEST = 8
DDP = 12
HEARTBEAT = 14
KINDS = (SYSCTRL, MONITORING_DATA, MONITORING_REQUEST, DDP, HEARTBEAT)
COMMANDS = 512  # the wire has 9 bits for them
GROUPS = 32  # 5 bits
READINGS = 64  # 6 bits
PAYLOAD = 8  # bytes


class SysCtrl(msgspec.Struct, frozen=True, tag_field="type", tag="sysctrl"):
    """A command of a node.

    A query asks for its value, value tells or sets it, neither just says it.
    """

    src: int
    dst: int
    command: int  # 0 to 511
    value: bool = False
    query: bool = False
    data: bytes = b""


class MonitoringData(
    msgspec.Struct, frozen=True, tag_field="type", tag="monitoring_data"
):
    """One reading of a group, to everybody."""

    src: int
    group: int  # 0 to 31
    reading: int  # 0 to 63
    data: bytes = b""


class MonitoringRequest(
    msgspec.Struct, frozen=True, tag_field="type", tag="monitoring_request"
):
    """Asks for readings of a group."""

    src: int
    dst: int
    group: int
    readings: tuple[int, ...]  # each 0 to 63


class Heartbeat(msgspec.Struct, frozen=True, tag_field="type", tag="heartbeat"):
    """A node is there; to everybody."""

    src: int
    product: int  # 1 to 0xFFFE


Message = SysCtrl | MonitoringData | MonitoringRequest | Heartbeat | Ddp


def encode(message: Message) -> list[tuple[int, bytes]]:
    """Return identifier (29 bits) and data of each frame.

    Raise OutOfRange for what the wire has no room for.
    """
    _check("src", message.src, 0, BROADCAST - 1)
    match message:
        case SysCtrl():
            return [_sysctrl(message)]
        case MonitoringData():
            return [_monitoring_data(message)]
        case MonitoringRequest():
            return [_monitoring_request(message)]
        case Heartbeat():
            return [_heartbeat(message)]
        case Ddp():
            return list(_ddp(message))


def _monitoring_data(message: MonitoringData) -> tuple[int, bytes]:
    _check("reading", message.reading, 0, READINGS - 1)
    _check("data", len(message.data), 0, PAYLOAD, " bytes")
    type_data = _group(message.group) | message.reading
    id_ = _id(MONITORING_DATA, message.src, BROADCAST, type_data)
    return id_, message.data


def _monitoring_request(message: MonitoringRequest) -> tuple[int, bytes]:
    mask = 0
    for reading in message.readings:
        _check("readings", reading, 0, READINGS - 1)
        mask |= 1 << reading
    group = _group(message.group)
    id_ = _id(MONITORING_REQUEST, message.src, message.dst, group)
    return id_, mask.to_bytes(PAYLOAD, "little")


def _heartbeat(message: Heartbeat) -> tuple[int, bytes]:
    _check("product", message.product, 1, 0xFFFE)
    id_ = _id(HEARTBEAT, message.src, BROADCAST, 0)
    return id_, message.product.to_bytes(2, "little")


def _ddp(message: Ddp) -> Iterator[tuple[int, bytes]]:
    for type_data, data in parts(message):
        yield _id(DDP, message.src, message.dst, type_data), data


def _sysctrl(message: SysCtrl) -> tuple[int, bytes]:
    _check("command", message.command, 0, COMMANDS - 1)
    _check("data", len(message.data), 0, PAYLOAD, " bytes")
    if message.value and message.query:
        raise OutOfRange("value: a SysCtrl is a value, a query or neither, not both")
    type_data = message.command << 2 | message.value << 1 | message.query
    id_ = _id(SYSCTRL, message.src, message.dst, type_data)
    return id_, message.data


def decode(
    kind: int, src: int, dst: int, type_data: int, data: bytes
) -> Message | None:
    """Return the message of one frame that is not DDP, None where it is none."""
    if kind == HEARTBEAT and len(data) >= 2:
        return Heartbeat(src, int.from_bytes(data[:2], "little"))
    if kind == SYSCTRL and type_data & 3 != 3:
        command = type_data >> 2
        value = bool(type_data & 2)
        query = bool(type_data & 1)
        return SysCtrl(src, dst, command, value, query, data)
    if kind == MONITORING_DATA:
        group = type_data >> 6
        reading = type_data & 0x3F
        return MonitoringData(src, group, reading, data)
    if kind == MONITORING_REQUEST:
        group = type_data >> 6
        return MonitoringRequest(src, dst, group, _readings(data))
    return None


def _readings(data: bytes) -> tuple[int, ...]:
    """Return the readings of a bit mask, little endian."""
    mask = int.from_bytes(data[:PAYLOAD], "little")
    found = []
    for reading in range(READINGS):
        if mask >> reading & 1:
            found.append(reading)
    return tuple(found)


def fields(id: int) -> tuple[int, int, int, int]:
    """Return type, source, destination and type data of an identifier."""
    kind = id >> 25 & 0xF
    src = id >> 18 & 0x7F
    dst = id >> 11 & 0x7F
    type_data = id & 0x7FF
    return kind, src, dst, type_data


def _id(kind: int, src: int, dst: int, type_data: int) -> int:
    _check("dst", dst, 0, BROADCAST)
    return kind << 25 | src << 18 | dst << 11 | type_data


def _group(group: int) -> int:
    _check("group", group, 0, GROUPS - 1)
    return group << 6


def _check(name: str, value: int, low: int, high: int, unit: str = "") -> None:
    if not low <= value <= high:
        raise OutOfRange(f"{name}: {value}{unit} is not {low} to {high}")
