"""Models of SunSpec in a unit: where they begin.

Source: docs/protocols/modbus.md, 12.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from busbar.bridge import DeviceRefused, ProtocolError
from busbar.codecs.modbus import NO_PATH, NO_TARGET, Read
from modbus_bridge.properties import Property
from modbus_bridge.unit import ModbusUnit

BASES = (40000, 0, 50000)  # in holding registers
MARK = b"SunS"
END = 0xFFFF
MOST = 100  # models in a unit
Places = Mapping[int, tuple[int, int]]  # model -> its first register, registers


async def search(unit: ModbusUnit) -> dict[int, tuple[int, int]]:
    """Return where the models of a unit are; of several alike the first.

    Raise ProtocolError if it has none, else as ModbusMaster.ask.
    """
    at = await _base(unit) + 2
    found: dict[int, tuple[int, int]] = {}
    for _ in range(MOST):
        head = await unit.read(Read("holding", at, 2))
        model, length = int.from_bytes(head[:2], "big"), int.from_bytes(head[2:], "big")
        if model == END:
            return found
        found.setdefault(model, (at, length + 2))
        at += length + 2
        if at > 65534:
            raise ProtocolError(f"model {model} of SunSpec ends beyond register 65535")
    raise ProtocolError(f"more than {MOST} models of SunSpec")


async def _base(unit: ModbusUnit) -> int:
    for base in BASES:
        try:
            if await unit.read(Read("holding", base, 2)) == MARK:
                return base
        except DeviceRefused as error:
            if error.detail["code"] in (NO_PATH, NO_TARGET):
                raise
    places = ", ".join(map(str, BASES))
    raise ProtocolError(f"no SunSpec: holding {places} do not hold 'SunS'")


def located(properties: Sequence[Property], places: Places) -> list[Property]:
    """Return properties with their addresses, without those that the unit lacks."""
    found = []
    for each in properties:
        model = next((number for number in each.sunspec if number in places), None)
        if not each.sunspec:
            found.append(each)
        elif model is not None:
            start, size = places[model]
            if each.address + each.registers <= size:
                found.append(replace(each, address=start + each.address, sunspec=()))
    paths = {each.path for each in found}
    return [each for each in found if each.scale_from in (None, *paths)]
