"""Links and descriptions: one link for each chip of the configuration, by its back end."""

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
from gpio_bridge.lines.line import Place, WallClock
from gpio_bridge.pin_commands import PinCommands
from gpio_bridge.pins import boards
from gpio_bridge.pins.numbering import SIMULATED, Pins, this_board
from gpio_bridge.session import Wanted, described
from gpio_bridge.settings import Config, Device, Opened


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
            ("A click, double click, long press, or repetition of a button"),
        ),
        Event("turn", TurnFields, "A step of a rotary encoder"),
    )
}


@dataclass
class World:
    """The simulated chips of one configuration, wired as it says.

    A change of one device makes all of them anew.
    """

    devices: tuple[Device, ...]
    chips: Mapping[str, SimChip]

    @classmethod
    def of(
        cls, devices: Iterable[Device], make: Callable[[str], SimChip] = SimChip
    ) -> "World":
        simulated = tuple(each for each in devices if each.backend == "sim")
        world = cls(simulated, {each.name: make(each.name) for each in simulated})
        for device in simulated:
            try:
                world.wire(device)
            except BusbarError as error:
                raise ConfigError(f"{device.name}: {error.message}") from error
        return world

    def wire(self, device: Device) -> None:
        """Make the wires that a device begins; raise UnknownTarget, OutOfRange."""
        chip = self.chips[device.name]
        pins = Pins(device.numbering, _board(device, chip), chip.count, chip.offset)
        for each in device.stimuli:
            pins.offset(each.line, "offset")
        for line in device.lines:
            if isinstance(line, settings.Out) and line.drives:
                name, _, there = line.drives.partition("/")
                other = self.chips[name]
                chip.wire(
                    pins.offset(line.line),
                    other,
                    Pins("offset", None, other.count, other.offset).offset(int(there)),
                )


@contextlib.asynccontextmanager
async def _stimulated(
    chip: SimChip, stimuli: Iterable[settings.Stimulus]
) -> AsyncIterator[None]:
    """Drive lines from outside until left."""

    async def drive(each: settings.Stimulus) -> None:
        chip.pins[each.line].lose = each.lose
        for _ in range(each.count) if each.count else itertools.count():
            for level, seconds in ((True, each.high), (False, each.low)):
                chip.drive(each.line, level)
                await asyncio.sleep(seconds)

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


def link(about: Device, world: World | None = None) -> Link:
    """Return the link to one chip."""
    world = world or World.of([about])
    simulated = world.chips
    wanted = {each.name: Wanted(each) for each in about.lines}

    @contextlib.asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[PinCommands]:
        outlet = port.outlet(about.name)
        async with contextlib.AsyncExitStack() as stack:
            chip = _open(about, simulated)
            stack.push_async_callback(chip.close)
            clock = WallClock(asyncio.get_running_loop().time)
            place = Place(
                chip, outlet, clock, functools.partial(_pulses, about, chip, set())
            )
            pins = Pins(about.numbering, _board(about, chip), chip.count, chip.offset)
            outlet.describe(_identified(outlet.description, pins, chip))
            session = PinCommands(about, port, place, pins, wanted)
            stack.push_async_callback(session.leave)
            await session.start()
            if isinstance(chip, SimChip):
                await stack.enter_async_context(_stimulated(chip, about.stimuli))
            yield session

    asked = (about, world.devices) if about.backend == "sim" else about
    return Link(
        about.name, about.address, open_, {about.name: describe(about)}, config=asked
    )


def describe(about: Device) -> Description:
    """Describe a chip as it is configured."""
    return Description(
        "gpio",
        described(about.lines),
        commands(PinCommands),
        EVENTS,
        name=about.title,
        address=about.address,
        timeout=20.0,
    )


def links(config: Config) -> Iterable[Link]:
    """Return the links of a configuration: one for each device."""
    world = World.of(config.devices)
    return [link(each, world) for each in config.devices]


def _open(about: Device, simulated: Mapping[str, SimChip]) -> Chip:
    """Open the chip; raise LinkLost."""
    if about.backend == "sim":
        chip = simulated[about.name]
        if chip.failing is not None:
            raise chip.failing
        return chip
    if about.backend == "rpigpio" or not libgpiod.supported():
        return rpigpio.RpiGpioChip(rpigpio.load())
    return libgpiod.KernelChip(libgpiod.find(about.chip))


async def _pulses(
    about: Device,
    chip: Chip,
    taken: set[Path],
    line: settings.Pwm | settings.Servo,
    offset: int,
) -> Pulses:
    """Return what can pulse a line.

    Hardware where there is a channel for it, else software.
    """
    root = Path(about.pwm_root)
    channel = None
    if line.channel is not None:
        channel = sysfs_pwm.named(line.channel, root)
    elif line.by != "software" and _on_header(chip):
        channel = sysfs_pwm.find(offset, root)
    if channel is not None:
        return sysfs_pwm.HardwarePulses(*channel, taken)
    if line.by == "hardware":
        raise DeviceRefused(
            f"line {offset} has no channel of hardware PWM; lines 12, 13, 18 and 19 "
            f"can: {sysfs_pwm.OVERLAY}"
        )
    if (used := chip.info(offset)).used:
        raise DeviceRefused(
            f"line {offset} is busy: {used.consumer or 'the kernel'!r} holds it"
        )
    if isinstance(chip, SimChip):
        return await SimPulses.take(chip, offset)
    if isinstance(chip, rpigpio.RpiGpioChip):
        return rpigpio.RpiGpioPulses(chip, offset)
    return lgpio_pulses.SoftwarePulses(
        lgpio_pulses.load(), Path("/dev") / chip.name, offset
    )


def _on_header(chip: Chip) -> bool:
    return (
        isinstance(chip, rpigpio.RpiGpioChip | SimChip)
        or chip.label in libgpiod.HEADERS
    )


def _board(about: Device, chip: Chip) -> boards.Board | None:
    """Return the board whose header is on this chip.

    An expander or another machine has none.
    """
    if about.revision is not None:
        return boards.board(about.revision)
    if about.backend == "sim":
        return boards.board(SIMULATED)
    return this_board() if _on_header(chip) else None


def _identified(about: Description, pins: Pins, chip: Chip) -> Description:
    model = pins.board.title if pins.board else chip.label
    return about.with_(model=model)


def opened(arguments: Opened) -> Link:
    """Return the link of a chip that a command opens."""
    return link(arguments.device())


async def scan(folder: Path = libgpiod.DEV) -> Sequence[Found]:
    """Look for chips of the kernel; two with one label are told apart by their paths."""
    there = list(libgpiod.candidates(folder))
    labels = [each.label for each in there]
    return [
        Found(
            f"gpiod::{each.label if each.label and labels.count(each.label) == 1 else each.path}",
            "gpio",
            str(each),
        )
        for each in there
    ]


SERVICE = Service("gpio", Config, links, Opened, opened, scan)
