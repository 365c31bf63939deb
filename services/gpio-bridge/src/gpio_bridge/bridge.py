"""Links and descriptions: one link for each chip of the configuration."""

import asyncio
import contextlib
import functools
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from busbar.bridge import (
    BusbarError,
    ConfigError,
    Description,
    DeviceRefused,
    Event,
    Found,
    Link,
    Port,
    Service,
    commands,
)
from gpio_bridge import settings
from gpio_bridge.backends import lgpio_pulses, libgpiod, rpigpio, sysfs_pwm
from gpio_bridge.backends.sim import SimChip, SimPulses
from gpio_bridge.chip import Chip, Pulses
from gpio_bridge.line_commands import LineCommands
from gpio_bridge.lines.line import LineContext, WallClock
from gpio_bridge.lines.line_set import Wanted, line_properties
from gpio_bridge.pin_commands import PinCommands
from gpio_bridge.pins import boards
from gpio_bridge.pins.numbering import SIMULATED, Pins, this_board
from gpio_bridge.session import GpioSession
from gpio_bridge.settings import Config, Opened


class EdgeFields(msgspec.Struct, frozen=True):
    """An edge of an input.

    `line_seq` and `timestamp_ns` (monotonic) are the kernel's, `lost` came before it
    unseen.
    """

    line: str
    edge: Literal["rising", "falling"]
    value: bool
    line_seq: int
    timestamp_ns: int
    lost: int


class PressFields(msgspec.Struct, frozen=True):
    """What a finger did; `count` of a hold, `held` in s."""

    line: str
    kind: Literal["click", "double", "long", "hold"]
    count: int
    held: float


class TurnFields(msgspec.Struct, frozen=True):
    """A step of an encoder: 1 or -1."""

    line: str
    steps: int
    position: int


EVENTS = {
    each.name: each
    for each in (
        Event("edge", EdgeFields, "An edge of an input"),
        Event(
            "press",
            PressFields,
            "A click, double click, long press, or repetition of a button",
        ),
        Event("turn", TurnFields, "A step of a rotary encoder"),
    )
}


@dataclass
class SimulatedChips:
    """The simulated chips of one configuration, wired as it says.

    A change of one device makes all of them again.
    """

    devices: tuple[settings.Device, ...]
    chips: Mapping[str, SimChip]

    @classmethod
    def of(
        cls,
        devices: Iterable[settings.Device],
        make: Callable[[str], SimChip] = SimChip,
    ) -> "SimulatedChips":
        """Make the chips; raise ConfigError for a wire that is not possible."""
        simulated = tuple(each for each in devices if each.backend == "sim")
        chips = {each.name: make(each.name) for each in simulated}
        made = cls(simulated, chips)
        for device in simulated:
            try:
                made.wire(device)
            except BusbarError as error:
                raise ConfigError(f"{device.name}: {error.message}") from error
        return made

    def wire(self, device: settings.Device) -> None:
        """Make the wires that a device begins; raise UnknownTarget, OutOfRange."""
        chip = self.chips[device.name]
        pins = _numbered(device, chip)
        for each in device.stimuli:
            pins.offset(each.line, "offset")
        for line in device.lines:
            if isinstance(line, settings.Out) and line.drives:
                here = pins.offset(line.line)
                name, _, number = line.drives.partition("/")
                other = self.chips[name]
                others = Pins("offset", None, other.count, other.offset)
                there = others.offset(int(number))
                chip.wire(here, other, there)


@contextlib.asynccontextmanager
async def _stimulated(
    chip: SimChip, stimuli: Iterable[settings.Stimulus]
) -> AsyncIterator[None]:
    """Drive lines from outside until left."""

    async def drive(each: settings.Stimulus) -> None:
        chip.pins[each.line].lose = each.lose
        repetitions: Iterable[int] = itertools.count()
        if each.count is not None:
            repetitions = range(each.count)
        for _ in repetitions:
            chip.drive(each.line, True)
            await asyncio.sleep(each.high)
            chip.drive(each.line, False)
            await asyncio.sleep(each.low)

    tasks = [
        asyncio.create_task(drive(each), name=f"stimulus-{each.line}")
        for each in stimuli
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def link(about: settings.Device, simulated: SimulatedChips | None = None) -> Link:
    """Return the link to one chip."""
    simulated = simulated or SimulatedChips.of([about])
    chips = simulated.chips
    wanted = {each.name: Wanted(each) for each in about.lines}

    @contextlib.asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[GpioSession]:
        outlet = port.outlet(about.name)
        async with contextlib.AsyncExitStack() as stack:
            chip = _open(about, chips)
            stack.push_async_callback(chip.close)
            clock = WallClock(asyncio.get_running_loop().time)
            pulses = functools.partial(_pulses, about, chip, set())
            context = LineContext(chip, outlet, clock, pulses)
            pins = _numbered(about, chip)
            outlet.describe(_identified(outlet.description, pins, chip))
            session = GpioSession(about, port, context, pins, wanted)
            stack.push_async_callback(session.leave)
            await session.start()
            if isinstance(chip, SimChip):
                await stack.enter_async_context(_stimulated(chip, about.stimuli))
            yield session

    config: object = about
    if about.backend == "sim":
        config = (about, simulated.devices)
    return Link(
        about.name, about.address, open_, {about.name: describe(about)}, config=config
    )


def describe(about: settings.Device) -> Description:
    """Describe a chip as it is configured."""
    return Description(
        "gpio",
        line_properties(about.lines),
        commands(LineCommands, PinCommands),
        EVENTS,
        name=about.title,
        address=about.address,
        timeout=20.0,
    )


def links(config: Config) -> Iterable[Link]:
    """Return the links of a configuration: one for each device."""
    simulated = SimulatedChips.of(config.devices)
    return [link(each, simulated) for each in config.devices]


def _open(about: settings.Device, chips: Mapping[str, SimChip]) -> Chip:
    """Open the chip; raise LinkLost."""
    if about.backend == "sim":
        chip = chips[about.name]
        if chip.failing is not None:
            raise chip.failing
        return chip
    if about.backend == "rpigpio" or not libgpiod.supported():
        return rpigpio.RpiGpioChip(rpigpio.load())
    return libgpiod.KernelChip(libgpiod.find(about.chip))


async def _pulses(
    about: settings.Device,
    chip: Chip,
    taken: set[Path],
    line: settings.Pwm | settings.Servo,
    offset: int,
) -> Pulses:
    """Return what can pulse a line: hardware where it has a channel, else software."""
    channel = _pwm_channel(about, chip, line, offset)
    if channel is not None:
        return sysfs_pwm.HardwarePulses(*channel, taken)
    if line.by == "hardware":
        raise DeviceRefused(
            f"line {offset} has no channel of hardware PWM; lines 12, 13, 18 and 19 "
            f"can: {sysfs_pwm.OVERLAY}"
        )
    used = chip.info(offset)
    if used.used:
        raise DeviceRefused(libgpiod.busy(used))
    if isinstance(chip, SimChip):
        return await SimPulses.take(chip, offset)
    if isinstance(chip, rpigpio.RpiGpioChip):
        return rpigpio.RpiGpioPulses(chip, offset)
    path = libgpiod.DEV / chip.name
    return lgpio_pulses.SoftwarePulses(lgpio_pulses.load(), path, offset)


def _pwm_channel(
    about: settings.Device, chip: Chip, line: settings.Pwm | settings.Servo, offset: int
) -> tuple[Path, int] | None:
    """Return the channel of hardware PWM for a line, None for software."""
    root = Path(about.pwm_root)
    if line.channel is not None:
        return sysfs_pwm.named(line.channel, root)
    if line.by == "software" or not _on_header(chip):
        return None
    return sysfs_pwm.find(offset, root)


def _on_header(chip: Chip) -> bool:
    if isinstance(chip, rpigpio.RpiGpioChip | SimChip):
        return True
    return chip.label in libgpiod.HEADERS


def _board(about: settings.Device, chip: Chip) -> boards.Board | None:
    """Return the board whose header is on this chip.

    An expander or another machine has none.
    """
    if about.revision is not None:
        return boards.board(about.revision)
    if about.backend == "sim":
        return boards.board(SIMULATED)
    return this_board() if _on_header(chip) else None


def _numbered(about: settings.Device, chip: Chip) -> Pins:
    board = _board(about, chip)
    return Pins(about.numbering, board, chip.count, chip.offset)


def _identified(about: Description, pins: Pins, chip: Chip) -> Description:
    model = pins.board.title if pins.board else chip.label
    return about.with_(model=model)


def opened(arguments: Opened) -> Link:
    """Return the link of a chip that a command opens."""
    return link(arguments.device())


async def scan(folder: Path = libgpiod.DEV) -> Sequence[Found]:
    """Look for chips of the kernel; two with one label are found by their paths."""
    there = list(libgpiod.candidates(folder))
    labels = [each.label for each in there]
    found = []
    for each in there:
        where = each.label
        if not where or labels.count(where) > 1:
            where = str(each.path)
        found.append(Found(f"gpiod::{where}", "gpio", str(each)))
    return found


SERVICE = Service("gpio", Config, links, Opened, opened, scan)
