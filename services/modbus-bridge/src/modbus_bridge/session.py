"""Session of one open Modbus line: polls, writes and units in quarantine."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from busbar.bridge import (
    BusbarError,
    DeviceRefused,
    DeviceTimeout,
    LinkLost,
    Outlet,
    Port,
    ProtocolError,
    Turn,
    UnknownTarget,
)
from busbar.bridge import Property as Declared
from busbar.codecs.modbus import (
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    NO_PATH,
    NO_TARGET,
)
from modbus_bridge.commands import UnitCommands
from modbus_bridge.master import ModbusMaster
from modbus_bridge.polling import Block, Item, Patience, Schedule, join
from modbus_bridge.settings import Device
from modbus_bridge.unit import ModbusUnit

CHECK = 1.0  # s between looks whether an idle line has been closed
# s between publications of an unchanged answer, which only confirm it; at most half a
# timeout
CONFIRM = 0.2
REPORT_EVERY = 10.0  # s between reports of what happened on the line
# refusals that will be the same next time
LASTING = (ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE)
# requests in a row without an answer, to units that have answered on this connection
HALF_OPEN = 3


class Counts(msgspec.Struct, frozen=True):
    """Value of `state/_counts`: what happened with this unit since the start."""

    requests: int
    silences: int  # no answer in time
    garbled: int  # answers that could not be read
    refused: int  # exceptions
    late: int  # answers that came too late and were dropped
    overruns: int  # readings that were missed because the line was busy


COUNTS = Declared(
    "_counts", Counts, title=("What happened with this unit since the start")
)


class ModbusSession:
    """One open line.

    `silent` remembers units in quarantine from one session to the next, with their
    silences.
    """

    def __init__(
        self,
        port: Port,
        master: ModbusMaster,
        devices: Mapping[str, Device],
        units: Mapping[str, ModbusUnit],
        silent: dict[str, int],
    ) -> None:
        self._port = port
        self._master = master
        self._devices = devices
        self._units = units
        self._outlets: dict[str, Outlet] = {name: port.outlet(name) for name in devices}
        self._unit_commands = UnitCommands(port, units, self._outlets)
        self.commands = (self._unit_commands,)
        self._silent = silent
        self._unknown = {
            name
            for name, each in devices.items()
            if each.identify and not units[name].broadcast
        }
        # the last answer, and when it was published
        self._published: dict[Block, tuple[Any, float]] = {}
        self._blocks = {name: blocks(each) for name, each in devices.items()}
        # of blocks that have just been refused
        self._pieces: dict[Block, list[Block]] = {}
        now = asyncio.get_running_loop().time()
        patience = {
            name: Patience(each.timeout, each.silences, each.probe)
            for name, each in devices.items()
        }
        self._schedule = Schedule(self._blocks, patience, now)
        for name, failures in silent.items():
            self._schedule.quarantine(name, failures, now)
            self._outlets[name].offline(
                _silence(failures, "no answer before the link was opened again")
            )

    async def serve(self) -> None:
        """Poll; notice a closed connection, and one that only seems open."""
        loop = asyncio.get_running_loop()
        checked = reported = loop.time()
        while True:
            now = loop.time()
            if now - reported >= REPORT_EVERY:
                self._publish_counts(*self._devices)
                reported = now
            self._check_open()
            job = self._schedule.take_next(now)
            if job is not None:
                await self._poll(*job)
                continue
            if now - checked >= CHECK:
                async with self._port.poll():
                    await self._master.check()
                checked = loop.time()
            until = min(self._schedule.next_due(), checked + CHECK)
            await asyncio.sleep(max(0.0, until - loop.time()))

    async def refresh(self, device: str) -> None:
        self._published.clear()
        todo = list(self._blocks[device])
        failed: BusbarError | None = None
        while todo and not isinstance(failed, DeviceTimeout):
            block = todo.pop()
            failed = await self._read(device, block) or failed
            todo += self._pieces.pop(block, [])
        await asyncio.sleep(0)  # until all of it is taken
        self._publish_counts(device)
        if failed is not None:
            raise failed

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        each = self._devices[device].by_path.get(path)
        if each is None:
            raise UnknownTarget(f"{path!r} is not in the registers of the unit")
        unit = self._units[device]
        await unit.write(each, each.give(value), turn.asked)
        if each.access == "w":
            return None
        try:
            value = each.take(await unit.ask(each.request(), turn.asked))
        except (DeviceRefused, DeviceTimeout, ProtocolError) as error:
            raise type(error)(
                (f"written, but not read back: {error.message}"), **error.detail
            ) from error
        self._outlets[device].values({path: value})
        return value

    async def _poll(self, device: str, block: Block, planned: float) -> None:
        loop = asyncio.get_running_loop()
        read = False
        try:
            async with self._port.poll():
                read = await self._read(device, block) is None
                if read and device in self._unknown:
                    self._unknown.discard(device)
                    # not every unit knows
                    with contextlib.suppress(
                        DeviceRefused, DeviceTimeout, ProtocolError
                    ):
                        await self._unit_commands.ask_identity(device)
        finally:
            pieces = self._pieces.pop(block, None)
            if pieces:
                self._schedule.read_now(device, pieces, planned)
            else:
                self._schedule.plan_next(device, block, planned, loop.time(), read)

    async def _read(self, device: str, block: Block) -> BusbarError | None:
        """Read a block and publish it; return why if it has to be tried again.

        Raise LinkLost.
        """
        try:
            answer = await self._units[device].ask(block.request)
        except DeviceRefused as error:
            return self._handle_refusal(device, block, error)
        except (DeviceTimeout, ProtocolError) as error:
            # either costs its mates their time
            self._mark_silent(device, block, error)
            return error
        except Exception as error:  # of ours: it costs this block only
            self._published.pop(block, None)
            return self._outlets[device].failed(block.paths, error)
        self._mark_answering(device)
        moment = min(CONFIRM, self._devices[device].timeout / 2)
        if self._remember_answer(block, answer, moment):
            # the next request goes first
            asyncio.get_running_loop().call_soon(self._take, device, block, answer)
        return None

    def _remember_answer(self, block: Block, answer: Any, moment: float) -> bool:
        """Remember an answer; return False if it was published a moment (s) ago."""
        last = self._published.get(block)
        now = asyncio.get_running_loop().time()
        if last is not None and last[0] == answer and now - last[1] < moment:
            return False
        self._published[block] = answer, now
        return True

    def _take(self, device: str, block: Block, answer: Any) -> None:
        outlet = self._outlets[device]
        properties = self._devices[device].by_path
        good = {}
        for path, place in block.places.items():
            try:
                good[path] = properties[path].take(answer[place])
            except Exception as error:  # one bad value costs one property
                outlet.failed([path], error)
        outlet.values(good)

    def _handle_refusal(
        self, device: str, block: Block, error: DeviceRefused
    ) -> BusbarError | None:
        code = error.detail["code"]
        if code in (NO_PATH, NO_TARGET):  # a gateway says that the unit is silent
            self._mark_silent(device, block, error)
            return error
        self._mark_answering(device)
        if code in (ILLEGAL_ADDRESS, ILLEGAL_VALUE) and block.pieces:
            self._pieces[block] = block.pieces
            # else `refresh` has found out before the next poll
            if block in self._blocks[device]:
                self._blocks[device].remove(block)
                self._blocks[device] += block.pieces
            return None
        self._mark_bad(device, block, error)
        return None if code in LASTING else error

    def _mark_answering(self, device: str) -> None:
        if self._schedule.note_answer(device, asyncio.get_running_loop().time()):
            self._silent.pop(device, None)
            self._outlets[device].online()

    def _mark_silent(self, device: str, block: Block, error: BusbarError) -> None:
        if self._schedule.note_silence(device, asyncio.get_running_loop().time()):
            failures = self._schedule.failures(device)
            self._silent[device] = failures
            self._outlets[device].offline(_silence(failures, error.message))
            self._publish_counts(device)
        else:
            self._mark_bad(device, block, error)

    def _mark_bad(self, device: str, block: Block, error: BusbarError) -> None:
        self._published.pop(block, None)
        self._outlets[device].bad(block.paths, error)

    def _check_open(self) -> None:
        """Raise LinkLost when units that answered on a connection stay silent."""
        if self._master.connected and self._master.silences >= HALF_OPEN:
            raise LinkLost(
                f"no answer from any unit to {self._master.silences} requests: the "
                f"connection is dead"
            )

    def _publish_counts(self, *names: str) -> None:
        """Publish the counters of these units."""
        for name in names:
            counters = self._master.counters[self._units[name].unit.number]
            overruns = self._schedule.overruns(name)
            counts = asdict(counters) | {"overruns": overruns}
            self._outlets[name].values({COUNTS.path: counts})


def blocks(device: Device) -> list[Block]:
    """Return what is read of a unit, neighbours together."""
    items = [
        Item(each.path, each.table, each.address, each.registers, device.period(each))
        for each in device.properties
        if "r" in each.access
    ]
    return join(items, device.join, device.max_read, device.max_read_bits)


def _silence(failures: int, last: str) -> DeviceTimeout:
    return DeviceTimeout(
        f"{last}; {failures} times in a row the unit gave no answer, it is asked "
        f"again "
        f"now and then"
    )
