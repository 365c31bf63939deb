"""The configuration of the CIP bridge."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from busbar.bridge import config
from busbar.bridge.errors import OutOfRange
from busbar.codecs.cip import Encoding
from cip_bridge.joins import JoinPath, parse

Seconds = Annotated[
    float,
    Meta(
        gt=0,
        le=5,
        description=(
            "more than 0, at most 5 s: all steps have to fit into half a minute"
        ),
    ),
]
IpId = Annotated[
    int,
    Meta(
        ge=1,
        le=0xFFFE,
        description=(
            "0x03 to 0xFE, as 0x0A for the 0A of SIMPL; the wire has room for 0xFFFE"
        ),
    ),
]
_WORD = "[A-Za-z0-9-][A-Za-z0-9_-]{0,63}"
_RESERVED = r"(digital|analog|serial|smart|slot)(/|$)|clock$|\d+$"
Levels = Annotated[
    str,
    Meta(
        pattern=rf"^(?!{_RESERVED}){_WORD}(/{_WORD})*(?!\n)$",
        description=(
            "levels of letters, digits, _ and -, not beginning with digital, analog, "
            "serial, smart or slot, and no number, which would be that of a join"
        ),
    ),
]
Scale = tuple[float, float, float, float]
Address = Annotated[
    str, Meta(description="cip::HOST[:PORT], or cips::HOST[:PORT] for TLS")
]
Room = Annotated[
    str,
    Meta(
        pattern=r"^[\x21-\x7e]{1,32}(?!\n)$",
        description="1 to 32 characters of ASCII, no spaces",
    ),
]
Username = Annotated[
    str,
    Meta(
        pattern=r"^[^:]+$",
        description="text without a colon, which ends it on the wire",
    ),
]

_ADDRESS = re.compile(
    r"(cips?)::(?:\[([0-9A-Fa-f:.]+(?:%\w+)?)\]|([^\s:/@\[\]]+))(?::(\d{1,5}))?",
    re.ASCII,
)
PORTS = {"cip": 41794, "cips": 41796}


class Place(msgspec.Struct, frozen=True):
    """Where a processor listens, or we do."""

    host: str
    port: int
    tls: bool


def place(address: str) -> Place:
    """Return what `cip::HOST[:PORT]` or `cips::HOST[:PORT]` says; raise ValueError."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(
            f"address: {address!r} is not cip::HOST:PORT or cips::HOST:PORT "
            "(an IPv6 host in brackets)"
        )
    scheme, bracketed, host, port = found.groups()
    number = int(port) if port else PORTS[scheme]
    if not 0 < number < 65536:
        raise ValueError(f"address: port {port} is not 1 to 65535")
    try:
        (host or "").encode("idna")  # as it is looked up
    except UnicodeError as error:
        raise ValueError(
            f"address: {host!r} cannot be the name of a host: {error}"
        ) from error
    return Place(bracketed or host, number, scheme == "cips")


class NamedJoin(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    rename={"class_": "class"},
):
    """A join with a name, which replaces its number."""

    join: JoinPath
    name: Levels
    title: str | None = None
    unit: str | None = None
    group: str | None = None
    class_: str | None = None  # Home Assistant device class
    signed: bool = False  # an analog is -32768 to 32767
    scale: Scale | None = None  # of an analog: [raw, raw, value, value]

    def __post_init__(self) -> None:
        try:
            parse(self.join)
        except OutOfRange as error:
            raise ValueError(f"join: {error.message}") from error
        if "analog/" not in self.join and (self.signed or self.scale):
            raise ValueError(
                f"{'signed' if self.signed else 'scale'}: only for an analog join"
            )
        if self.scale is not None:
            low, high = (-32768, 32767) if self.signed else (0, 65535)
            first, last, one, other = self.scale
            if not (low <= first < last <= high):
                raise ValueError(
                    f"scale: the first two are raw values, rising, from {low} to {high}"
                )
            if one == other:
                raise ValueError("scale: the last two are the same")


# The description of a device is one message, of at most 1 MiB: a larger one would never
# be seen.
Joins = Annotated[
    tuple[NamedJoin, ...],
    Meta(max_length=2000, description="at most 2000 of one device"),
]


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One processor whose panel we are, or (mode: processor) one IP-ID of panels."""

    name: config.Name
    address: Address
    ipid: IpId
    mode: Literal["panel", "processor"] = "panel"
    title: str | None = None
    room: Room | None = None  # VC-4
    username: Username | None = None
    password: str | None = None
    password_file: str | None = None
    sign_on: Literal["long", "short"] = "long"
    serial_encoding: Encoding = "latin1"  # of text beyond ASCII that we send
    smart_offset: Literal[0, 1] = (
        1  # number on the wire + this = analog and serial joins of smart objects
    )
    timeout: Seconds = 2.0  # s for the connection, and for each step of the sign-on
    ca_file: str | None = None  # PEM; None: the system's authorities
    fingerprint: config.Fingerprint | None = None  # of the processor's certificate
    insecure: bool = False  # True: any certificate will do
    cert_file: str | None = None  # PEM; of mode processor
    key_file: str | None = None
    result: Literal["001f", "0003", "200f"] = (
        "001f"  # what mode processor answers a sign-on with
    )
    joins: Joins = ()

    @property
    def tls(self) -> tuple[bool, str | None, str | None]:
        """How a port of ours is secured."""
        return place(self.address).tls, self.cert_file, self.key_file

    def __post_init__(self) -> None:
        if self.name == "bridge":
            raise ValueError("name: 'bridge' is the bridge itself; choose another")
        self._check_keys(place(self.address).tls)
        if (self.username is None) != (
            self.password is None and self.password_file is None
        ):
            raise ValueError(
                "username: a username and a password (or password_file) belong together"
            )
        if self.password is not None and self.password_file is not None:
            raise ValueError(
                "password_file: there is a password, too; allowed: one of them"
            )
        for key in ("join", "name"):
            doubled = Counter(getattr(each, key) for each in self.joins).most_common(1)
            if doubled and doubled[0][1] > 1:
                raise ValueError(f"joins: {doubled[0][0]!r} is there twice")

    def _check_keys(self, tls: bool) -> None:
        """Refuse what would say nothing."""
        for mode, keys in _KEYS.items():
            for key in keys:
                if self._given(key) and mode != self.mode:
                    raise ValueError(f"{key}: only for mode: {mode}")
        for key in filter(self._given, _TLS_KEYS):
            if not tls:
                raise ValueError(f"{key}: only with an address of cips::")
        if self.mode == "processor" and tls and self.cert_file is None:
            raise ValueError("cert_file: cips:: needs a certificate of ours")
        trusted = [
            key for key in ("ca_file", "fingerprint", "insecure") if self._given(key)
        ]
        if len(trusted) > 1:
            raise ValueError(
                f"{trusted[-1]}: there is {trusted[0]}, too; allowed: one of them"
            )
        if self.room is not None and self._given("sign_on"):
            raise ValueError(
                "sign_on: to a room there is but one way to sign on; allowed: "
                "room or sign_on"
            )

    def _given(self, key: str) -> bool:
        return bool(getattr(self, key) != _DEFAULTS[key])


_KEYS = {  # that mean something in one mode
    "panel": ("sign_on", "timeout", "ca_file", "fingerprint", "insecure"),
    "processor": ("cert_file", "key_file", "result"),
}
_TLS_KEYS = ("ca_file", "fingerprint", "insecure", "cert_file", "key_file")
_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Device)}


class Config(config.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file of cip-bridge."""

    devices: tuple[Device, ...] = ()

    def within(self, folder: Path) -> Self:
        return replace(
            super().within(folder),
            devices=tuple(_within(folder, device) for device in self.devices),
        )

    def __post_init__(self) -> None:
        config.check_names(device.name for device in self.devices)
        for address, seats in ours(self.devices).items():
            first = seats[0]
            for number, seat in enumerate(seats):
                where = f"at port {address[1]} of {address[0]}"
                if any(seat.ipid == other.ipid for other in seats[:number]):
                    raise ValueError(
                        f"devices: two devices have IP-ID 0x{seat.ipid:02X} {where}; "
                        "each needs one of its own"
                    )
                if seat.tls != first.tls:
                    raise ValueError(
                        f"devices: {first.name!r} and {seat.name!r} are {where}; "
                        "allowed: cip:: or cips:: with the same cert_file and key_file"
                    )


def _within(folder: Path, device: Device) -> Device:
    files = {
        key: getattr(device, key)
        for key in ("password_file", "ca_file", "cert_file", "key_file")
    }
    return replace(
        device,
        **{key: str(folder / file) for key, file in files.items() if file is not None},
    )


def ours(devices: Iterable[Device]) -> dict[tuple[str, int], list[Device]]:
    """Return the devices of mode processor by host and port: one listener each."""
    found: dict[tuple[str, int], list[Device]] = {}
    for device in devices:
        if device.mode == "processor":
            where = place(device.address)
            found.setdefault((where.host.lower(), where.port), []).append(device)
    return found
