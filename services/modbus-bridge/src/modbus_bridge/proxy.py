"""Proxy of a line for other masters: their requests take turns with ours.

For devices that take one connection.
"""

import asyncio
from collections.abc import Callable

from busbar.bridge import BusbarError, DeviceRefused, DeviceTimeout, Port
from busbar.codecs import modbus
from busbar.codecs.modbus import Raw
from modbus_bridge.master import ModbusMaster, Unit

# how requests begin that change nothing; other diagnostics restart or silence a
# unit
READING = (
    *(bytes([function]) for function in (1, 2, 3, 4, 7, 11, 12, 17, 20, 24)),
    bytes([8, 0, 0]),
    bytes([43, 14]),
)
# functions whose requests can be checked
DEFINED = frozenset({1, 2, 3, 4, 5, 6, 15, 16, 22, 23})
# in a row; then masters leave a unit alone. It may have no properties, and so no polls
SILENCES = 2
ALONE = 10.0  # timeouts that it is left alone: so it takes a tenth of the line at most
PATIENCE = 10.0  # s that a master's request may wait for its turn


class Proxy:
    """Answers masters with what the units of a line say."""

    def __init__(
        self,
        port: Port,
        master: ModbusMaster,
        units: dict[int, Unit],
        is_silent: Callable[[int], bool],
        is_locked: Callable[[int], bool],
        *,
        writable: bool,
    ) -> None:
        self._port = port
        self._master = master
        self._units = units
        # a unit in quarantine: masters must not slow the line down either
        self._is_silent = is_silent
        self._is_locked = is_locked  # masters have no lease
        self._writable = writable
        # in a row, of units that masters have asked
        self._silences: dict[int, int] = {}
        # until when (loop time) such a unit is left alone
        self._alone: dict[int, float] = {}

    async def handle(self, number: int, pdu: bytes) -> bytes:
        """Return the answer of a unit, or an exception.

        10: not ours, 11: silent, 6: locked and to be written.
        """
        function = pdu[0]
        reading = pdu.startswith(READING)
        if number not in self._units:
            return modbus.exception(function, modbus.NO_PATH)
        if not 1 <= function <= 127 or not (self._writable or reading):
            return modbus.exception(function, modbus.ILLEGAL_FUNCTION)
        now = asyncio.get_running_loop().time()
        if self._is_silent(number) or now < self._alone.get(number, 0.0):
            return modbus.exception(function, modbus.NO_TARGET)
        try:
            if function in DEFINED:
                # half a request would cost a timeout, on a line that others wait for
                modbus.decode(pdu)
            async with (
                asyncio.timeout(PATIENCE + self._units[number].timeout),
                self._port.poll(),
            ):
                if self._is_locked(number) and not reading:
                    return modbus.exception(function, modbus.BUSY)
                answer = await self._ask(self._units[number], Raw(function, pdu[1:]))
        except DeviceRefused as error:
            return modbus.exception(function, error.detail["code"])
        except TimeoutError:
            return modbus.exception(function, modbus.BUSY)
        except BusbarError:
            return modbus.exception(function, modbus.NO_TARGET)
        return pdu[:1] + answer

    async def _ask(self, unit: Unit, request: Raw) -> bytes:
        """Return what a unit answers and count silences; raise as ModbusMaster.ask."""
        before = self._silences.pop(unit.number, 0)
        try:
            answer: bytes = await self._master.ask(unit, request)
        except DeviceTimeout:
            self._silences[unit.number] = before + 1
            if before + 1 >= SILENCES:
                self._alone[unit.number] = (
                    asyncio.get_running_loop().time() + ALONE * unit.timeout
                )
            raise
        return answer
