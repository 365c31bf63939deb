"""Scans for units and for addresses.

Each request is a poll, so that commands and polls go on meanwhile.
"""

from collections.abc import Callable

import msgspec

from busbar.bridge import DeviceRefused, DeviceTimeout, Port, ProtocolError
from busbar.codecs.modbus import (
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    NO_PATH,
    NO_TARGET,
    Read,
    Table,
)
from modbus_bridge.master import ModbusMaster, Unit
from modbus_bridge.unit import ModbusUnit

Progress = Callable[[float | None, str], None]


class FoundUnit(msgspec.Struct, frozen=True):
    """A unit that answers, and what it said to a read of holding register 0."""

    unit: int
    answer: str


class FoundSpan(msgspec.Struct, frozen=True):
    """Addresses that can be read."""

    address: int
    count: int


async def units(
    port: Port, master: ModbusMaster, span: range, timeout: float, progress: Progress
) -> list[FoundUnit]:
    """Return the units that answer.

    An exception is an answer, unless a gateway says that nobody is there.
    """
    found = []
    for done, number in enumerate(span):
        progress(done / len(span), f"unit {number}")
        if number == 0 and not master.numbered:
            continue  # all of them, and none answers
        async with port.poll():
            answer = await _first_word(master, Unit(number, timeout))
        if answer is not None:
            found.append(FoundUnit(number, answer))
    return found


async def _first_word(master: ModbusMaster, unit: Unit) -> str | None:
    try:
        data: bytes = await master.ask(unit, Read("holding", 0, 1))
    except DeviceTimeout:
        return None
    except DeviceRefused as error:
        return None if error.detail["code"] in (NO_PATH, NO_TARGET) else error.message
    except ProtocolError as error:
        return error.message
    return data.hex()


async def registers(
    port: Port,
    unit: ModbusUnit,
    table: Table,
    span: range,
    size: int,
    progress: Progress,
) -> list[FoundSpan]:
    """Return what can be read.

    What a unit refuses is tried in halves, an answer that is lost is asked for again
    once.

    Raise as ModbusMaster.ask for other refusals, and for what is lost twice.
    """
    readable: list[int] = []
    lost = range(0)
    todo = [span[at : at + size] for at in range(0, len(span), size)][::-1]
    while todo:
        part = todo.pop()
        progress((part[0] - span[0]) / len(span), f"{table} {part[0]}")
        try:
            async with port.poll():
                await unit.ask(Read(table, part[0], len(part)))
        except DeviceRefused as error:
            if error.detail["code"] not in (ILLEGAL_ADDRESS, ILLEGAL_VALUE):
                raise
            if len(part) > 1:
                middle = len(part) // 2
                todo += [part[middle:], part[:middle]]
        except (DeviceTimeout, ProtocolError):
            if part == lost:
                raise
            lost = part
            todo.append(part)
        else:
            readable += part
    return _spans(readable)


def _spans(addresses: list[int]) -> list[FoundSpan]:
    found: list[FoundSpan] = []
    for address in addresses:
        if found and found[-1].address + found[-1].count == address:
            found[-1] = FoundSpan(found[-1].address, found[-1].count + 1)
        else:
            found.append(FoundSpan(address, 1))
    return found
