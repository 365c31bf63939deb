"""The configuration of the HID bridge."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import Property as Declared
from busbar.bridge import config, values
from hid_bridge import address as addresses

Seconds = Annotated[float, Meta(gt=0, le=86400)]
Path = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9-][A-Za-z0-9_-]{0,63}(/[A-Za-z0-9-][A-Za-z0-9_-]{0,63})*(?!\n)$"
    ),
]
Number = Annotated[int, Meta(ge=0, le=255)]
Offset = Annotated[int, Meta(ge=0, le=16383)]
Hex = Annotated[
    str,
    Meta(
        pattern=r"^([0-9A-Fa-f]{2})( ?[0-9A-Fa-f]{2})*(?!\n)$",
        max_length=49152,
        description="bytes in hex, such as 01 FF",
    ),
]


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which reports have a field: those with this number in this byte."""

    byte: Offset = 0
    equals: Number


class Checksum(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A byte of every input report that makes it good."""

    kind: Literal["sum", "xor"] = "sum"
    first: Offset = 0  # the bytes that count
    last: Offset
    byte: Offset  # where it is

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"last: {self.last} is before `first`")


class Init(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A report that is sent whenever the device is opened: with its number."""

    feature: Hex | None = None
    output: Hex | None = None

    def __post_init__(self) -> None:
        if (self.feature is None) == (self.output is None):
            raise ValueError("feature: an init report is either `feature` or `output`")


class Field(config.Reported, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One value in reports, where the descriptor does not say enough."""

    path: Path
    kind: Literal["input", "feature", "output"] = "input"
    report: Number = 0  # its number; 0: reports are not numbered
    byte: Offset = 0  # the first, after the number
    bit: Annotated[int, Meta(ge=0, le=7)] = 0  # the first of it; 0 is the lowest
    bits: Annotated[int, Meta(ge=1, le=64)] = 8
    order: Literal["little", "big"] = "little"
    signed: bool = False
    type: Literal["number", "integer", "boolean"] = "number"
    scale: float = 1.0
    add: float = 0.0
    exponent: Path | None = None  # the path of the field that has its power of ten
    choices: dict[int, str] = msgspec.field(default_factory=dict)  # number -> name
    when: When | None = None
    minimum: float | None = None
    maximum: float | None = None
    # s without a reading after which it is stale; 0 = never
    max_age: Annotated[float, Meta(ge=0, le=86400)] = 0.0

    def __post_init__(self) -> None:
        config.check_choices(self.choices)
        if self.scale == 0:
            raise ValueError("scale: 0 makes every value the same")
        if self.order == "big" and (self.bit or self.bits % 8):
            raise ValueError(
                "order: big is for whole bytes (`bit` 0, `bits` 8, 16 ...)"
            )
        if self.type != "number" and self.exponent:
            raise ValueError("exponent: only for the type number")
        if self.choices and (self.exponent or self.scaled):
            raise ValueError("choices: not together with scale, add or exponent")
        bounds = (self.minimum, self.maximum)
        if None not in bounds and bounds[0] > bounds[1]:  # type: ignore[operator]
            raise ValueError(f"minimum: {self.minimum:g} is above the maximum")

    @property
    def scaled(self) -> bool:
        return self.scale != 1.0 or self.add != 0.0

    @property
    def value_type(self) -> Any:
        """The type that values are checked against."""
        if self.choices:
            return values.choice(*self.choices.values())
        if self.type == "boolean":
            return bool
        if self.type == "integer":
            return values.integer(_whole(self.minimum), _whole(self.maximum))
        return values.number(self.minimum, self.maximum)

    def declared(self, access: Literal["r", "w", "rw"], max_age: float) -> Declared:
        """Return the property as the bus sees it."""
        return Declared(
            self.path,
            self.value_type,
            access,
            title=self.title,
            unit=self.unit,
            group=self.group,
            class_=self.class_,
            readback=None if access == "w" else "",
            deadband=self.deadband,
            min_interval=self.min_interval,
            max_silence=self.max_silence,
            max_age=self.max_age or max_age,
        )


class Keyboard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A device that types: keys become lines."""

    layout: Literal["us", "de", "fr"] = "us"
    grab: bool = True  # nobody else gets its keys
    end: Literal["enter", "tab"] = "enter"
    # s after the last key that end a line, too; null: only the key does
    pause: Seconds | None = None
    limit: Annotated[int, Meta(ge=1, le=65536)] = 4096  # characters of a line


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One device."""

    name: config.Name
    address: str  # hid::VENDOR:PRODUCT and more
    title: str | None = None
    # hidraw is Linux only and the default there
    backend: Literal["hidraw", "hidapi"] | None = None
    model: Literal["co2monitor", "scale", "footswitch"] | None = None
    timeout: Seconds = 5.0  # s for one exchange; the kernel's own limit
    descriptor: bool = True  # properties for what the report descriptor names
    reports: Literal["all", "changed", "none"] = "all"  # what is told as event/report
    every: Seconds | None = None  # s between readings of feature reports
    set_features: bool = False  # True: feature reports may be written by a set
    # s without an input report after which its values are stale; 0 = never
    max_age: Annotated[float, Meta(ge=0, le=86400)] = 0.0
    fields: tuple[Field, ...] = ()
    checksum: Checksum | None = None
    init: tuple[Init, ...] = ()
    keyboard: Keyboard | None = None
    connect: Literal["always", "on_demand"] = "always"
    idle_close: Seconds = 60.0  # s; with on_demand

    def __post_init__(self) -> None:
        if self.name == "bridge":
            raise ValueError("name: 'bridge' is the bridge itself; choose another")
        addresses.parse(self.address)
        _check_fields(self.fields)
        if self.keyboard is not None and self.backend == "hidapi":
            raise ValueError("backend: a keyboard is read by evdev, not by hidapi")
        if self.keyboard is not None and (self.fields or self.model):
            raise ValueError("keyboard: it has lines, not `fields` or a `model`")


def _check_fields(fields: tuple[Field, ...]) -> None:
    paths = [each.path for each in fields]
    for each in fields:
        if paths.count(each.path) > 1:
            raise ValueError(f"fields: {each.path!r} is there twice")
        if each.exponent and each.exponent not in paths:
            raise ValueError(f"fields: {each.path}: no field {each.exponent!r}")


class Config(config.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file of hid-bridge."""

    devices: tuple[Device, ...] = ()

    def __post_init__(self) -> None:
        config.check_names(device.name for device in self.devices)


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)
