"""Configuration of the GPIO bridge."""

import collections
import itertools
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from busbar.bridge import config
from gpio_bridge.chip import Drive, Pull

Seconds = Annotated[float, Meta(gt=0, le=86400)]
Number = Annotated[int, Meta(ge=0, le=1023)]
LineName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        description="the kernel's name of a line, such as GPIO17",
    ),
]
Where = Number | LineName
_WORD = "[A-Za-z0-9-][A-Za-z0-9_-]{0,63}"
Path = Annotated[
    str,
    Meta(
        pattern=rf"^{_WORD}(/{_WORD})*(?!\n)$",
        description="levels of letters, digits, _ and -",
    ),
]
Level = Literal["keep", "high", "low", "on", "off"]
Edges = Literal["both", "rising", "falling", "none"]
By = Literal["auto", "hardware", "software"]
Hertz = Annotated[float, Meta(ge=0.1, le=10_000_000)]
Interval = Annotated[float, Meta(ge=0.05, le=3600)]
Microseconds = Annotated[float, Meta(ge=1, le=1_000_000)]
Degrees = Annotated[float, Meta(ge=-3600, le=3600)]
Scale = Annotated[float, Meta(ge=-1e12, le=1e12)]


class Debounce(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which edges count: settled levels (kernel), the first (RPIO), no short pulses."""

    mode: Literal["settle", "lockout", "glitch"] = "settle"
    time: Annotated[float, Meta(gt=0, le=60)]  # s


class Press(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Detection of clicks and presses, where an input is a button."""

    long: Seconds | None = None  # s that a long press lasts
    double: Seconds | None = None  # s between the two clicks of a double click
    # s between repetitions while it is down
    hold: Annotated[float, Meta(ge=0.02, le=3600)] | None = None
    hold_after: Seconds = 0.5  # s until the first


class _Line(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag_field="direction",
    rename={"class_": "class"},
):
    name: Path
    title: str | None = None
    group: str | None = None
    class_: str | None = None  # Home Assistant device class


class _Input(_Line, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pull: Pull = "as_is"
    active_low: bool = False
    debounce: Debounce | None = None


class In(_Input, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="in"):
    """A level from outside."""

    line: Where
    edges: Edges = "both"  # that become events; the value follows all of them
    press: Press | None = None
    poll: Interval = 0.05  # s between looks, where a line has no interrupt


class Out(_Line, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="out"):
    """A level of ours."""

    line: Where
    initial: Level = "keep"
    at_exit: Level = "keep"
    on_broker_loss: Level = "keep"
    pull: Pull = "as_is"
    active_low: bool = False
    drive: Drive = "push_pull"
    # sim: DEVICE/LINE
    drives: (
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}/\d{1,4}(?!\n)$")] | None
    ) = None


class _Pulsed(_Line, frozen=True, forbid_unknown_fields=True, kw_only=True):
    line: Where
    at_exit: Literal["keep", "off"] = "off"  # keep: hardware PWM goes on by itself
    on_broker_loss: Literal["keep", "off"] = "keep"
    by: By = "auto"
    channel: (
        Annotated[
            str, Meta(pattern=r"^[^/]+/\d{1,2}(?!\n)$", description="DEVICE/CHANNEL")
        ]
        | None
    ) = None

    def __post_init__(self) -> None:
        if self.channel is not None and self.by == "software":
            raise ValueError(
                "channel: one of hardware PWM; with by: software there is none"
            )


class Pwm(_Pulsed, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="pwm"):
    """A duty cycle."""

    frequency: Hertz = 100.0  # Hz
    initial: Annotated[float, Meta(ge=0, le=100)] = 0.0  # %


class Servo(
    _Pulsed, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="servo"
):
    """The pulses of a servo."""

    frequency: Annotated[float, Meta(ge=20, le=500)] = 50.0  # Hz
    pulse_range: tuple[Microseconds, Microseconds] = (500.0, 2500.0)
    angle_range: tuple[Degrees, Degrees] = (-90.0, 90.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.pulse_range
        first, last = self.angle_range
        if not low < high < 1e6 / self.frequency:
            raise ValueError(
                f"pulse_range: two rising widths (us), below one period, "
                f"{1e6 / self.frequency:g} us"
            )
        if first == last:
            raise ValueError("angle_range: both ends are the same")


class Counter(
    _Input, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="counter"
):
    """Pulses counted, and how many a second."""

    line: Where
    edges: Literal["both", "rising", "falling"] = "rising"
    unit: str | None = None
    scale: Scale = 1.0  # units of one pulse
    interval: Interval = 1.0  # s between reports


class Frequency(
    _Input, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="frequency"
):
    """Pulses a second."""

    line: Where
    edges: Literal["rising", "falling"] = "rising"
    unit: str = "Hz"
    scale: Scale = 1.0  # units of 1 Hz
    interval: Interval = 1.0  # s of a measurement


class Encoder(
    _Input, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="encoder"
):
    """A rotary encoder on two lines."""

    line: tuple[Where, Where]  # A and B
    # quarter turns of one step: 4 for encoders that rest once a cycle
    steps: Literal[1, 2, 4] = 4


AnyLine = In | Out | Pwm | Servo | Counter | Frequency | Encoder


class Stimulus(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What drives a line of a simulated chip from outside: high and low in turns."""

    line: Number
    high: Seconds
    low: Seconds
    count: Annotated[int, Meta(ge=1)] | None = None  # None: for ever
    # of its first edges, which the chip counts and does not report
    lose: Annotated[int, Meta(ge=0)] = 0


class Device(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One chip and the lines of it that are used."""

    name: config.Name
    title: str | None = None
    backend: Literal["gpiod", "rpigpio", "sim"] = "gpiod"
    # label, path, name or number; auto: the chip of a Raspberry Pi's header
    chip: Number | str = "auto"
    numbering: Literal["BCM", "BOARD", "names", "offset"] = "BCM"
    # of the board; None: read from the machine
    revision: Annotated[int, Meta(ge=1, le=0xFFFFFFFF)] | None = None
    allow_force: bool = False
    # s without the broker before it is lost
    broker_grace: Annotated[float, Meta(ge=0, le=3600)] = 5.0
    # s between updates of `_inspect`; 0: none
    inspect_every: Annotated[float, Meta(ge=0, le=3600)] = 1.0
    pwm_root: str = "/sys/class/pwm"
    pinctrl_root: str = "/sys/kernel/debug/pinctrl"
    lines: tuple[AnyLine, ...] = ()
    stimuli: tuple[Stimulus, ...] = ()

    @property
    def address(self) -> str:
        return f"{self.backend}::{self.chip}"

    def __post_init__(self) -> None:
        if self.name == "bridge":
            raise ValueError("name: 'bridge' is the bridge itself; choose another")
        if self.backend != "sim" and self.stimuli:
            raise ValueError("stimuli: only for backend: sim")
        _check_doubled("name", itertools.chain(*map(paths, self.lines)))
        _check_doubled("line", itertools.chain(*map(places, self.lines)))
        for index, each in enumerate(self.lines):
            self._check(index, each)

    def _check(self, index: int, line: AnyLine) -> None:
        key = f"lines[{index}]"
        if isinstance(line, Out) and line.drives and self.backend != "sim":
            raise ValueError(f"{key}: drives: only for backend: sim")
        named = all(isinstance(each, str) for each in places(line))
        if self.numbering == "names" and not named:
            raise ValueError(
                f"{key}: line: with numbering: names a line is given by the "
                "kernel's name for it"
            )


class Opened(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `open`: a chip until the bridge restarts.

    The keys of a device, with back end and chip in one.
    """

    name: config.Name
    address: Annotated[
        str,
        Meta(pattern=r"^(gpiod|rpigpio|sim)::.+(?!\n)$", description="BACKEND::CHIP"),
    ]
    title: str | None = None
    numbering: Literal["BCM", "BOARD", "names", "offset"] = "BCM"
    revision: Annotated[int, Meta(ge=1, le=0xFFFFFFFF)] | None = None
    allow_force: bool = False
    lines: tuple[AnyLine, ...] = ()

    def __post_init__(self) -> None:
        for line in self.lines:
            if isinstance(line, Out) and line.drives:
                raise ValueError(
                    "lines: drives: only in the configuration file, which has the "
                    "other chip"
                )
        self.device()

    def device(self) -> Device:
        """Return the settings of the device; raise ValueError."""
        backend, _, chip = self.address.partition("::")
        given = msgspec.structs.asdict(self)
        del given["address"]
        return Device(backend=backend, chip=chip, **given)  # type: ignore[arg-type]  # the pattern of the address


class Config(config.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file of gpio-bridge."""

    devices: tuple[Device, ...] = ()

    def __post_init__(self) -> None:
        config.check_names(device.name for device in self.devices)
        simulated = {device.name for device in self.devices if device.backend == "sim"}
        for device in self.devices:
            for line in device.lines:
                if not isinstance(line, Out) or not line.drives:
                    continue
                other, _, _ = line.drives.partition("/")
                if other not in simulated:
                    raise ValueError(
                        f"devices: {device.name}/{line.name} drives {other!r}, "
                        "which is no simulated one"
                    )


SUFFIXES: dict[type, tuple[str, ...]] = {  # further properties of a line, by its kind
    Pwm: ("frequency",),
    Servo: ("angle",),
    Counter: ("rate",),
}


def paths(line: AnyLine) -> Iterator[str]:
    """Return the properties of a line."""
    yield line.name
    for suffix in SUFFIXES.get(type(line), ()):
        yield f"{line.name}/{suffix}"


def places(line: AnyLine) -> tuple[Where, ...]:
    """Return the lines of the chip that a line of ours uses."""
    if isinstance(line, Encoder):
        return line.line
    return (line.line,)


def _check_doubled(key: str, found: Iterable[Where]) -> None:
    counted = collections.Counter(found)
    for each, count in counted.items():
        if count > 1:
            raise ValueError(f"lines: {key} {each!r} is there twice")
