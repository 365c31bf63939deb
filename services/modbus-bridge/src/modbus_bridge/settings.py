"""The configuration of the Modbus bridge."""

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from busbar.bridge import Property as Declared
from busbar.bridge import config, values
from modbus_bridge.address import UNIT, Place, listen, place
from modbus_bridge.points import Point, chosen, number_of

Seconds = Annotated[float, Meta(gt=0, le=86400)]
Pause = Annotated[float, Meta(ge=0, le=60)]
_WORD = "[A-Za-z0-9-][A-Za-z0-9_-]{0,63}"
Levels = Annotated[
    str,
    Meta(
        pattern=rf"^{_WORD}(/{_WORD})*(?!\n)$",
        description="levels of letters, digits, _ and -, none of them beginning with _",
    ),
]


if TYPE_CHECKING:

    class PropertyKeys(Point, config.Reported, frozen=True, kw_only=True):
        """What a point and every property on the bus have."""

else:
    PropertyKeys = config.joined("PropertyKeys", Point, config.Reported)


class Property(
    PropertyKeys, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True
):
    """One property of a unit: where it is, how it is read, written and shown."""

    path: Levels
    access: Literal["r", "w", "rw"] = "r"
    # s; None: as the device; 0: at connect and on refresh
    every: Annotated[float, Meta(ge=0, le=86400)] | None = None
    choices: dict[int, str] = msgspec.field(default_factory=dict)  # number -> name
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        Point.__post_init__(self)
        if "w" in self.access and self.table in ("discrete", "input"):
            raise ValueError(f"access: the table {self.table} can only be read")
        if self.choices and (not self.whole or self.bounds is None):
            raise ValueError("choices: only of a whole number")
        config.check_choices(self.choices)
        for raw in self.choices:
            self._check_within("choices", raw)
        self._check_bounds()

    def _check_bounds(self) -> None:
        for key in ("minimum", "maximum"):
            bound = getattr(self, key)
            if bound is None:
                continue
            if self.kind in ("bool", "string", "raw") or self.choices:
                raise ValueError(f"{key}: only of a number")
            if self.whole and not bound.is_integer():
                raise ValueError(f"{key}: {bound:g} is not a whole number")
            self._check_within(key, bound)
        if (
            self.minimum is not None
            and self.maximum is not None
            and self.minimum > self.maximum
        ):
            raise ValueError(
                f"minimum: {self.minimum:g} is above the maximum of {self.maximum:g}"
            )

    def _check_within(self, key: str, value: float) -> None:
        if self.bounds and not self.bounds[0] <= value <= self.bounds[1]:
            raise ValueError(
                f"{key}: {value:g} is not within {self.bounds[0]:g} to "
                f"{self.bounds[1]:g}"
            )

    @cached_property
    def type_(self) -> Any:
        """The type that msgspec checks values against."""
        if self.choices:
            return values.choice(*self.choices.values())
        return self.value_type(self.minimum, self.maximum)

    def take(self, data: Any) -> Any:
        """Return the value, ready for JSON, in what a Read has answered.

        Raise ProtocolError, OutOfRange.
        """
        value = self.parse(data)
        if self.choices:
            return chosen(self.choices, value)
        return msgspec.to_builtins(value) if isinstance(value, bytes) else value

    def give(self, value: Any) -> Any:
        """Return the value that goes into the registers; raise OutOfRange."""
        return number_of(self.choices, value) if self.choices else value

    def declared(self, every: float, timeout: float) -> Declared:
        """Return the property as the bus sees it."""
        polled = bool(every) and "r" in self.access
        max_age = 3 * every + timeout if polled else 0.0
        return Declared(
            self.path,
            self.type_,
            self.access,
            title=self.title,
            unit=self.unit,
            group=self.group,
            class_=self.class_,
            readback=None if self.access == "w" else "",
            deadband=self.deadband,
            min_interval=self.min_interval,
            max_silence=self.max_silence,
            max_age=max_age,
        )


class Serve(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The units of a line, offered to other masters."""

    listen: str  # HOST:PORT, Modbus TCP
    access: Literal["r", "rw"] = "r"
    clients: Annotated[int, Meta(ge=1, le=100)] = 8

    def __post_init__(self) -> None:
        listen(self.listen)


class Wiring(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a channel has, and a device with an address of its own."""

    # s between an answer and the next request; of RTU on a serial line at least 3.5
    # characters
    gap: Pause = 0.0
    turnaround: Pause = 0.1  # s after a broadcast
    connect: Literal["always", "on_demand"] = "always"
    idle_close: Seconds = 60.0  # s; with on_demand
    serve: Serve | None = None
    ca_file: str | None = None  # PEM; None: the system's authorities
    fingerprint: config.Fingerprint | None = None  # of the server's certificate
    insecure: bool = False  # True: any certificate will do
    cert_file: str | None = None  # PEM, of ours
    key_file: str | None = None


_WIRING = {field.name: field.default for field in msgspec.structs.fields(Wiring)}
_FILES = ("ca_file", "cert_file", "key_file")


class Channel(Wiring, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line with several units."""

    name: config.Name
    address: str  # modbus::rtu::/dev/ttyUSB0::9600::8N1 or alike

    def __post_init__(self) -> None:
        check_wiring(self, place(self.address))


class Device(Wiring, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """One unit, on a channel or at an address of its own."""

    name: config.Name
    channel: config.Name | None = None
    address: str | None = None  # modbus::tcp::HOST:PORT::UNIT or alike
    # 0 on a serial line: all of them, write only
    unit: Annotated[int, Meta(ge=0, le=255)] | None = None
    title: str | None = None
    # s, of properties that say nothing; 0: at connect, on refresh
    every: Annotated[float, Meta(ge=0, le=86400)] = 1.0
    timeout: Seconds = 1.0  # s for an answer
    delay: Pause = 0.0  # s before each request
    # polls in a row without an answer that can be read: in quarantine
    silences: Annotated[int, Meta(ge=1, le=100)] = 2
    probe: Seconds = 30.0  # s at most between attempts while in quarantine
    # after a silence: read another table, or wait
    resync: Literal["verify", "quiet"] = "verify"
    join: Annotated[int, Meta(ge=0, le=124)] = 8  # unused registers that are read along
    max_read: Annotated[int, Meta(ge=1, le=125)] = 125  # registers in one request
    max_read_bits: Annotated[int, Meta(ge=1, le=2000)] = 2000
    # write one coil or register by function 5 or 6; False: 15 and 16
    single: bool = True
    # write a bit by function 22 where the unit has it
    mask_write: Literal["auto", "never"] = "auto"
    identify: bool = False  # ask for the identification (function 43/14) at connect
    properties: tuple[Property, ...] = ()

    def __post_init__(self) -> None:
        if self.name == "bridge":
            raise ValueError("name: 'bridge' is the bridge itself; choose another")
        if (self.channel is None) == (self.address is None):
            raise ValueError(
                "address: a device has a channel or an address of its own, one of them"
            )
        if self.address is not None:
            where = place(self.address)
            check_wiring(self, where)
            self.check_unit(where)
        else:
            self._check_no_wiring()
        counts = Counter(each.path for each in self.properties)
        for path, count in counts.items():
            if count > 1:
                raise ValueError(f"properties: {path!r} is there twice")

    def _check_no_wiring(self) -> None:
        for key, default in _WIRING.items():
            if getattr(self, key) != default:
                raise ValueError(f"{key}: belongs to the channel {self.channel!r}")

    def check_unit(self, where: Place) -> None:
        """Raise ValueError where the unit is missing, given twice or out of place."""
        if self.unit is not None and where.unit is not None and self.unit != where.unit:
            raise ValueError(f"unit: {self.unit} here, {where.unit} in the address")
        if self.unit is None and where.unit is None and where.framing != "tcp":
            raise ValueError(
                f"unit: {self.name!r} needs one on a line of {where.framing}"
            )
        readable = any("r" in each.access for each in self.properties)
        if self.broadcast(where) and readable:
            raise ValueError(
                f"unit: 0 is all units of a line of {where.framing}, which do not "
                f"answer; only access: w"
            )

    def number(self, where: Place) -> int:
        """Return the unit; without one 255, as a device of its own on TCP has."""
        given = self.unit if self.unit is not None else where.unit
        return UNIT if given is None else given

    def broadcast(self, where: Place) -> bool:
        """True if it stands for all units of a line."""
        return where.framing != "tcp" and self.number(where) == 0

    def period(self, each: Property) -> float:
        """Return the period of a property (s), 0 for none."""
        return self.every if each.every is None else each.every

    @cached_property
    def by_path(self) -> dict[str, Property]:
        return {each.path: each for each in self.properties}


class Opened(Device, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """A device that the command `open` opens."""

    address: str


class Config(config.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file of modbus-bridge."""

    channels: tuple[Channel, ...] = ()
    devices: tuple[Device, ...] = ()

    def __post_init__(self) -> None:
        config.check_names(device.name for device in self.devices)
        places = {each.name: place(each.address) for each in self.channels}
        if len(places) < len(self.channels):
            raise ValueError("channels: two channels have the same name")
        for device in self.devices:
            if device.channel is not None and device.channel not in places:
                raise ValueError(
                    f"devices: {device.name!r} is on {device.channel!r}, which is "
                    "not among `channels`"
                )
            if device.channel is not None:
                device.check_unit(places[device.channel])
        own = [place(each.address) for each in self.devices if each.address is not None]
        ports = Counter(
            each.host for each in (*places.values(), *own) if each.transport == "serial"
        )
        for port, count in ports.items():
            if count > 1:
                raise ValueError(
                    f"devices: {port} is opened twice; devices on one line share a "
                    f"channel"
                )
        offers = Counter(
            each.serve.listen
            for each in (*self.channels, *self.devices)
            if each.serve is not None
        )
        for offer, count in offers.items():
            if count > 1:
                raise ValueError(f"devices: {offer} is listened on twice (`serve`)")

    def within(self, folder: Path) -> "Config":
        """Return it with its paths taken from `folder`."""
        base = config.Config.within(self, folder)
        channels = tuple(_within(each, folder) for each in base.channels)
        return replace(
            base,
            channels=channels,
            devices=tuple(_within(each, folder) for each in base.devices),
        )


def _within(each: Any, folder: Path) -> Any:
    found: dict[str, Any] = {}
    for key in _FILES:
        path = getattr(each, key)
        if path is not None:
            found[key] = str(folder / path)
    return replace(each, **found)


def check_wiring(wiring: Wiring, where: Place) -> None:
    """Raise ValueError for keys that do not go together (TLS keys without TLS)."""
    for key in (*_FILES, "fingerprint", "insecure"):
        if getattr(wiring, key) and where.transport != "tls":
            raise ValueError(f"{key}: only with an address of modbus::tls::")
    if wiring.serve is not None and wiring.connect == "on_demand":
        raise ValueError(
            "serve: not with `connect: on_demand`; while the line is closed nobody "
            "would answer"
        )
    if wiring.key_file is not None and wiring.cert_file is None:
        raise ValueError("key_file: a key without a cert_file")
