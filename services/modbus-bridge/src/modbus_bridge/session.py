"""Session of one open Modbus line: polls, writes and units in quarantine."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
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
from modbus_bridge.properties import Property
from modbus_bridge.readings import Readings
from modbus_bridge.settings import Device
from modbus_bridge.silences import Silences
from modbus_bridge.sunspec import located, search
from modbus_bridge.unit import ModbusUnit
from modbus_bridge.watchdogs import WatchDogs

CHECK = 1.0  # s between looks whether an idle line has been closed
GREETING = 8.0  # s that units have to answer before the line serves
EDGES = 2  # requests that find out whether a unit is silent or an address
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
        self._heard: set[str] = set()  # units that have answered on this connection
        self._unknown = {
            name
            for name, each in devices.items()
            if each.identify and not units[name].broadcast
        }
        # whose models of SunSpec are yet to be found
        self._unplaced = {name for name, each in devices.items() if each.has_sunspec}
        self._properties = {name: each.by_path for name, each in devices.items()}
        self._readings = {
            name: Readings(self._outlets[name], each.by_path, each.all_sums)
            for name, each in devices.items()
        }
        # the last answer, and when it was published
        self._published: dict[Block, tuple[Any, float]] = {}
        self._blocks = {
            name: blocks(each, each.all_properties) for name, each in devices.items()
        }
        # what is read in the place of a block, and after how long (s)
        self._instead: dict[Block, tuple[list[Block], float]] = {}
        self._silences = Silences(units)
        self._half_open = max(
            (HALF_OPEN * (1 + each.retries) + EDGES for each in devices.values()),
            default=HALF_OPEN,
        )
        self._dogs = WatchDogs(devices, self._now())
        self._schedule = self._planned(silent)

    def _planned(self, silent: Mapping[str, int]) -> Schedule:
        """Return the schedule; units in quarantine stay there."""
        now = self._now()
        patience = {
            name: Patience(each.timeout, each.silences, each.probe)
            for name, each in self._devices.items()
        }
        schedule = Schedule(self._blocks, patience, now)
        for name, failures in silent.items():
            schedule.quarantine(name, failures, now)
            self._outlets[name].offline(
                _silence(failures, "no answer before the link was opened again")
            )
        return schedule

    async def greet(self) -> None:
        """Poll until each unit has answered or is known to be silent."""
        loop = asyncio.get_running_loop()
        until = loop.time() + GREETING
        waiting = {name for name, each in self._blocks.items() if each}
        while waiting := waiting - self._heard - self._silent.keys():
            now = loop.time()
            job = self._schedule.take_next(now)
            if now >= until:
                break
            if job is None:
                await asyncio.sleep(max(0.0, self._schedule.next_due() - now))
            else:
                await self._poll(*job)
        for name in waiting:
            self._quarantine(name, "it has not answered since the line was opened")

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
            if self._dogs.next_due() <= now:
                await self._feed_dogs(now)
                continue
            job = self._schedule.take_next(now)
            if job is not None:
                async with self._port.poll():
                    await self._poll(*job)
                continue
            if now - checked >= CHECK:
                async with self._port.poll():
                    await self._master.check()
                checked = loop.time()
            until = min(self._schedule.next_due(), checked + CHECK)
            until = min(until, self._dogs.next_due())
            await asyncio.sleep(max(0.0, until - loop.time()))

    async def refresh(self, device: str) -> None:
        self._published.clear()
        todo = list(self._blocks[device])
        failed: BusbarError | None = None
        while todo and device not in self._silent:
            block = todo.pop()
            failed = await self._read(device, block) or failed
            todo += self._instead.pop(block, ([], 0.0))[0]
        await asyncio.sleep(0)  # until all of it is taken
        self._publish_counts(device)
        if failed is not None:
            raise failed

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        each = self._properties[device].get(path)
        if each is None:
            raise UnknownTarget(f"{path!r} is not in the registers of the unit")
        unit = self._units[device]
        power = self._readings[device].power_of(each)
        if power is None:
            raise DeviceRefused(f"the scale factor, {each.scale_from}, has no value")
        point = each.to_write(power)
        await unit.write(point, each.give(value), turn.asked)
        now = asyncio.get_running_loop().time()
        self._dogs.note_set(device, path, value, now)
        if each.access == "w":
            return None
        try:
            data = await unit.read(each.request(), turn.asked)
            value = each.take(data, power)
        except (DeviceRefused, DeviceTimeout, ProtocolError) as error:
            raise type(error)(
                (f"written, but not read back: {error.message}"), **error.detail
            ) from error
        self._outlets[device].values(
            {path: DeviceRefused("not available") if value is None else value}
        )
        return value

    async def _feed_dogs(self, now: float) -> None:
        """Write what has to be written again and again."""
        for device, path, value in self._dogs.take_due(now):
            each = self._properties[device].get(path)
            if each is None or device in self._silent:
                continue
            try:
                power = self._readings[device].power_of(each) or 0
                async with self._port.poll():
                    point = each.to_write(power)
                    await self._units[device].write(point, each.give(value))
            except Exception as error:  # it costs this one
                self._outlets[device].failed([path], error)

    async def _poll(self, device: str, block: Block, planned: float) -> None:
        loop = asyncio.get_running_loop()
        read = False
        try:
            if device in self._unplaced:
                read = await self._place(device, block)
                return
            read = await self._read(device, block) is None
            if read and device in self._unknown:
                self._unknown.discard(device)
                # not every unit knows
                with contextlib.suppress(DeviceRefused, DeviceTimeout, ProtocolError):
                    await self._unit_commands.ask_identity(device)
        finally:
            instead, delay = self._instead.pop(block, (None, 0.0))
            if instead is not None:
                due = loop.time() + delay if delay else planned
                self._schedule.read_now(device, instead, due)
            else:
                self._schedule.plan_next(device, block, planned, loop.time(), read)

    async def _place(self, device: str, block: Block) -> bool:
        """Find where a unit has its models of SunSpec; return whether it said so."""
        settings = self._devices[device]
        try:
            places = await search(self._units[device])
        except (DeviceRefused, DeviceTimeout, ProtocolError) as error:
            if isinstance(error, DeviceTimeout):
                self._mark_silent(device, block, error)
            else:
                self._mark_answering(device)
                self._readings[device].bad(settings.by_path, error)
            return False
        found = located(settings.all_properties, places)
        self._unplaced.discard(device)
        self._mark_answering(device)
        self._properties[device] = {each.path: each for each in found}
        outlet = self._outlets[device]
        gone = settings.by_path.keys() - self._properties[device].keys()
        kept = outlet.description.properties.items()
        properties = {path: each for path, each in kept if path not in gone}
        outlet.describe(outlet.description.with_(properties=properties))
        outlet.gone(gone)
        sums = [each for each in settings.all_sums if not each.parts.keys() & gone]
        self._readings[device] = Readings(outlet, self._properties[device], sums)
        self._blocks[device] = blocks(settings, found)
        self._schedule.replace(device, self._blocks[device], self._now())
        self._instead[block] = [], 0.0
        return True

    async def _read(self, device: str, block: Block) -> BusbarError | None:
        """Read a block and publish it; return why if it has to be tried again.

        A unit in quarantine is asked for one value only. Raise LinkLost.
        """
        probing = self._schedule.quarantined(device)
        unit = self._units[device]
        try:
            if probing and len(block.items) > 1:
                await unit.ask(block.sample(self._silent.get(device, 0)))
            answer = await unit.read(block.request, patient=not probing)
        except DeviceRefused as error:
            return self._handle_refusal(device, block, error)
        except (DeviceTimeout, ProtocolError) as error:
            return await self._follow_silence(device, block, error)
        except Exception as error:  # of ours: it costs this block only
            self._published.pop(block, None)
            return self._outlets[device].failed(block.paths, error)
        self._mark_answering(device)
        rare = self._silences.note_answer(device, block)
        if rare is not None:
            self._replace(device, block, [rare], 0.0)
        moment = min(CONFIRM, self._devices[device].timeout / 2)
        if self._remember_answer(block, answer, moment):
            # the next request goes first
            take = self._readings[device].take
            asyncio.get_running_loop().call_soon(take, block, answer)
        return None

    def _remember_answer(self, block: Block, answer: Any, moment: float) -> bool:
        """Remember an answer; return False if it was published a moment (s) ago."""
        last = self._published.get(block)
        now = asyncio.get_running_loop().time()
        if last is not None and last[0] == answer and now - last[1] < moment:
            return False
        self._published[block] = answer, now
        return True

    def _handle_refusal(
        self, device: str, block: Block, error: DeviceRefused
    ) -> BusbarError | None:
        code = error.detail["code"]
        if code in (NO_PATH, NO_TARGET):  # a gateway says that the unit is silent
            self._mark_silent(device, block, error)
            return error
        self._mark_answering(device)
        if code in (ILLEGAL_ADDRESS, ILLEGAL_VALUE) and block.pieces:
            self._replace(device, block, block.pieces, 0.0)
            return None
        self._mark_bad(device, block, error)
        return None if code in LASTING else error

    async def _follow_silence(
        self, device: str, block: Block, error: DeviceTimeout | ProtocolError
    ) -> BusbarError | None:
        """Find out who is silent: the unit, or an address.

        Its mates lose their time either way.
        """
        settings = self._devices[device]
        last = self._schedule.failures(device) + 1 >= settings.silences
        first = device not in self._heard
        lost = self._silences.note_silence(block, settings.silences)
        ask = (last or first or lost) and not self._schedule.quarantined(device)
        if ask and await self._silences.is_answering(device, block):
            self._mark_answering(device)
            if block.pieces:
                pieces = self._silences.suspect(block.pieces)
                self._replace(device, block, pieces, 0.0)
                return None
            rare = self._silences.blame(block, settings.probe)
            self._replace(device, block, [rare], settings.probe)
            self._mark_bad(device, block, error)
            return error
        if first and ask:
            self._quarantine(device, error.message)
        else:
            self._mark_silent(device, block, error)
        return error

    def _replace(
        self, device: str, block: Block, pieces: list[Block], delay: float
    ) -> None:
        """Read other blocks in the place of one from now on, first after `delay` s."""
        self._instead[block] = pieces, delay
        self._readings[device].replace_block(block)
        self._published.pop(block, None)
        # else `refresh` has found out before the next poll
        if block in self._blocks[device]:
            self._blocks[device].remove(block)
            self._blocks[device] += pieces

    def _mark_answering(self, device: str) -> None:
        self._heard.add(device)
        if self._schedule.note_answer(device, asyncio.get_running_loop().time()):
            self._silent.pop(device, None)
            self._outlets[device].online()

    def _mark_silent(self, device: str, block: Block, error: BusbarError) -> None:
        if self._schedule.note_silence(device, self._now()):
            self._take_offline(device, error.message)
        elif not block.every or isinstance(error, ProtocolError):
            self._mark_bad(device, block, error)

    def _quarantine(self, device: str, why: str) -> None:
        """Put a unit in quarantine that has not answered at all."""
        while not self._schedule.note_silence(device, self._now()):
            pass
        self._take_offline(device, why)

    def _take_offline(self, device: str, why: str) -> None:
        failures = self._schedule.failures(device)
        self._silent[device] = failures
        self._outlets[device].offline(_silence(failures, why))
        self._publish_counts(device)

    def _mark_bad(self, device: str, block: Block, error: BusbarError) -> None:
        self._published.pop(block, None)
        self._readings[device].bad(block.paths, placed(error, block))

    def _check_open(self) -> None:
        """Raise LinkLost when units that answered on a connection stay silent."""
        if self._master.connected and self._master.silences >= self._half_open:
            raise LinkLost(
                f"no answer from any unit to {self._master.silences} requests: the "
                f"connection is dead"
            )

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _publish_counts(self, *names: str) -> None:
        """Publish the counters of these units."""
        for name in names:
            counters = self._master.counters[self._units[name].unit.number]
            overruns = self._schedule.overruns(name)
            counts = asdict(counters) | {"overruns": overruns}
            self._outlets[name].values({COUNTS.path: counts})


def blocks(device: Device, properties: Sequence[Property]) -> list[Block]:
    """Return what is read of a unit, neighbours together."""
    items = [
        Item(each.path, each.table, each.address, each.registers, device.period(each))
        for each in properties
        if "r" in each.access
    ]
    return join(items, device.join, device.most_registers, device.max_read_bits)


def placed(error: BusbarError, block: Block) -> BusbarError:
    """Return an error that says where it was, and what a number may have meant."""
    message = f"{block.place}: {error.message}"
    if isinstance(error, DeviceRefused) and block.noted_as:
        message += f"; {block.noted_as}"
    return type(error)(message, **error.detail)


def _silence(failures: int, last: str) -> DeviceTimeout:
    return DeviceTimeout(
        f"{last}; {failures} times in a row the unit gave no answer, it is asked "
        f"again "
        f"now and then"
    )
