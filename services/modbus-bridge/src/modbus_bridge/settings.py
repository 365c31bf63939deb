"""The configuration of the Modbus bridge."""

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from busbar.bridge import ConfigError, config
from modbus_bridge.address import UNIT, Place, listen, place
from modbus_bridge.models import Model, load
from modbus_bridge.properties import Levels, Property, Sum, check_properties

Seconds = Annotated[float, Meta(gt=0, le=86400)]
Pause = Annotated[float, Meta(ge=0, le=60)]


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
    # s between connecting and the first request
    settle: Annotated[float, Meta(ge=0, le=20)] = 0.0
    # Modbus TCP: an answer with transaction 0 is taken, too
    lenient: bool = False
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


class WatchDog(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A register that has to be written again and again."""

    path: Levels
    every: Annotated[float, Meta(ge=0.1, le=86400)]  # s
    value: bool | int | float | str | None = None  # None: what was set last
    # s after the last `set` of the property: then `fallback` is written, and no more
    lapse: Seconds | None = None
    fallback: bool | int | float | str | None = None

    def __post_init__(self) -> None:
        if self.fallback is not None and self.lapse is None:
            raise ValueError("fallback: needs `lapse`")
        if self.lapse is not None and self.value is not None:
            raise ValueError("lapse: not with a `value`, which nobody sets")


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
    retries: Annotated[int, Meta(ge=0, le=10)] = 1  # of a read whose answer is lost
    delay: Pause = 0.0  # s before each request
    # polls in a row without an answer that can be read: in quarantine
    silences: Annotated[int, Meta(ge=1, le=100)] = 2
    probe: Seconds = 30.0  # s at most between attempts while in quarantine
    # after a silence: read another table, or wait
    resync: Literal["verify", "quiet"] = "verify"
    join: Annotated[int, Meta(ge=0, le=124)] = 8  # unused registers that are read along
    # registers in one request; None: 125, or what the model says
    max_read: Annotated[int, Meta(ge=1, le=125)] | None = None
    max_read_bits: Annotated[int, Meta(ge=1, le=2000)] = 2000
    # write one coil or register by function 5 or 6; False: 15 and 16
    single: bool = True
    # write a bit by function 22 where the unit has it
    mask_write: Literal["auto", "never"] = "auto"
    identify: bool = False  # ask for the identification (function 43/14) at connect
    # the registers of a make: a name, or a file (NAME.yaml)
    model: str | None = None
    properties: tuple[Property, ...] = ()
    sums: tuple[Sum, ...] = ()
    watch_dog: tuple[WatchDog, ...] = ()

    def __post_init__(self) -> None:
        if self.name == "bridge":
            raise ValueError("name: 'bridge' is the bridge itself; choose another")
        if (self.channel is None) == (self.address is None):
            raise ValueError(
                "address: a device has a channel or an address of its own, one of them"
            )
        if not self.has_file_of_model:
            check_properties(self.all_properties, self.all_sums)
        if self.address is not None:
            where = place(self.address)
            check_wiring(self, where)
            self.check_unit(where)
        else:
            self._check_no_wiring()
        for dog in self.watch_dog:
            found = self.by_path.get(dog.path)
            if self.has_file_of_model and found is None:
                continue  # the file is read when its folder is known
            if found is None or "w" not in found.access:
                raise ValueError(f"watch_dog: {dog.path!r} is nothing that is written")

    @property
    def has_file_of_model(self) -> bool:
        """Whether the model is a file whose folder is not known yet."""
        named = self.model or ""
        return named.endswith(".yaml") and not Path(named).is_absolute()

    @cached_property
    def of_model(self) -> Model:
        """What the model says; nothing without one."""
        if self.model is None or self.has_file_of_model:
            return Model()
        return load(self.model)

    @cached_property
    def all_properties(self) -> tuple[Property, ...]:
        """Own properties, and those of the model with other paths."""
        rest = [
            each
            for each in self.of_model.properties
            if each.path not in self._own_paths
        ]
        return (*self.properties, *rest)

    @cached_property
    def all_sums(self) -> tuple[Sum, ...]:
        rest = [each for each in self.of_model.sums if each.path not in self._own_paths]
        return (*self.sums, *rest)

    @cached_property
    def _own_paths(self) -> set[str]:
        return {each.path for each in (*self.properties, *self.sums)}  # type: ignore[attr-defined]  # both have it; their common base has not

    @property
    def has_sunspec(self) -> bool:
        """Whether the places of some properties are in models of SunSpec."""
        return any(each.sunspec for each in self.all_properties)

    @property
    def most_registers(self) -> int:
        """Registers in one request."""
        return self.max_read or self.of_model.max_read

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
        readable = any("r" in each.access for each in self.all_properties)
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
        return {each.path: each for each in self.all_properties}


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
    if getattr(each, "has_file_of_model", False):
        found["model"] = str((folder / each.model).absolute())
    try:
        return replace(each, **found)
    except ValueError as error:  # of the model's file
        raise ConfigError(str(error)) from error


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
