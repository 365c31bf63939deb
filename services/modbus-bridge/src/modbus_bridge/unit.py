"""Requests to one unit: reads, writes, bit fields, identification."""

import logging
from typing import Any

from busbar.bridge.errors import (
    BadRequest,
    DeviceRefused,
    DeviceTimeout,
    ProtocolError,
)
from busbar.codecs.modbus import (
    ILLEGAL_FUNCTION,
    Identify,
    Read,
    Request,
    WriteRegister,
    WriteRegisters,
)
from modbus_bridge.master import ModbusMaster, Unit
from modbus_bridge.points import Point

log = logging.getLogger("busbar.modbus")

PARTS = 32  # of an identification, at most
BASIC, EXTENDED = 1, 3


class ModbusUnit:
    """One unit; `broadcast`: all of a line, which do not answer."""

    def __init__(
        self,
        master: ModbusMaster,
        unit: Unit,
        *,
        broadcast: bool = False,
        single: bool = True,
        masks: bool = True,
        retries: int = 0,
    ) -> None:
        self.master = master
        self.unit = unit
        self.broadcast = broadcast
        self._retries = retries  # of a read whose answer is lost
        self._single = single  # write one coil or register by function 5 or 6
        self._masks = masks  # the unit may have function 22

    async def ask(self, request: Request, timeout: float | None = None) -> Any:
        """Return what the unit answers.

        Raise BadRequest where none does, else as ModbusMaster.ask.
        """
        if self.broadcast:
            raise BadRequest("unit 0 is all units of the line: they do not answer")
        return await self.master.ask(self.unit, request, timeout)

    async def read(
        self, request: Read, timeout: float | None = None, *, patient: bool = True
    ) -> Any:
        """Return what the unit answers to a read; ask again where the answer is lost.

        `patient`: more than once. Raise as `ask`.
        """
        retries = self._retries if patient and timeout is None else 0
        for _ in range(retries):
            try:
                return await self.ask(request, timeout)
            except (DeviceTimeout, ProtocolError) as error:
                log.debug("%s; asked again", error.message)
        return await self.ask(request, timeout)

    async def send(self, request: Request, timeout: float | None = None) -> Any:
        """Send what all units may be told, too.

        Return the answer, None if there is none.
        """
        if self.broadcast:
            return await self.master.broadcast(request)
        return await self.master.ask(self.unit, request, timeout)

    async def write(
        self, point: Point, value: Any, timeout: float | None = None
    ) -> None:
        """Write one value, by one request wherever that is possible.

        Raise OutOfRange before anything is sent.
        """
        if point.bit is None:
            await self.send(point.write(value, single=self._single), timeout)
        else:
            await self._write_field(point, value, timeout)

    async def _write_field(
        self, point: Point, value: Any, timeout: float | None
    ) -> None:
        """Write a bit field and nothing beside it.

        By function 22, else by reading and writing its register.
        """
        request = point.mask(value)
        if self._masks:
            try:
                await self.send(request, timeout)
                return
            except DeviceRefused as error:
                if error.detail["code"] != ILLEGAL_FUNCTION:
                    raise
                self._masks = False
        before = int.from_bytes(await self.ask(point.request(), timeout), "big")
        data = request.apply(before).to_bytes(2, "big")
        kind = WriteRegister if self._single else WriteRegisters
        await self.ask(kind(point.address, data), timeout)

    async def identify(self, timeout: float | None = None) -> dict[int, bytes]:
        """Return the objects of its identification; raise as ModbusMaster.ask."""
        try:
            return await self._objects(EXTENDED, timeout)
        except DeviceRefused as error:
            if error.detail["code"] == ILLEGAL_FUNCTION:
                raise
            return await self._objects(BASIC, timeout)

    async def _objects(self, code: int, timeout: float | None) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        following = 0
        for _ in range(PARTS):
            part = await self.ask(Identify(code, following), timeout)
            found |= part.values
            if part.following is None:
                return found
            following = part.following
        raise ProtocolError(f"the identification has more than {PARTS} parts")
