"""Configuration of the CIP bridge."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
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
        description="more than 0, at most 5 s: "
        "all steps have to fit into half a minute",
    ),
]
IpId = Annotated[
    int,
    Meta(
        ge=1,
        le=0xFFFE,
        description="0x03 to 0xFE, as 0x0A for the 0A of SIMPL; "
        "the wire has room for 0xFFFE",
    ),
]
_WORD = "[A-Za-z0-9-][A-Za-z0-9_-]{0,63}"
_RESERVED = r"(digital|analog|serial|smart|slot)(/|$)|clock$|\d+$"
Levels = Annotated[
    str,
    Meta(
        pattern=rf"^(?!{_RESERVED}){_WORD}(/{_WORD})*(?!\n)$",
        description="levels of letters, digits, _ and -, "
        "not beginning with digital, analog, serial, smart or slot, "
        "and no number, which would be that of a join",
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

_IPV6 = r"\[([0-9A-Fa-f:.]+(?:%\w+)?)\]"
_HOST = r"([^\s:/@\[\]]+)"
_ADDRESS = re.compile(rf"(cips?)::(?:{_IPV6}|{_HOST})(?::(\d{{1,5}}))?", re.ASCII)
PORTS = {"cip": 41794, "cips": 41796}


class Place(msgspec.Struct, frozen=True):
    """Host and port of a processor, or of a listener of ours."""

    host: str
    port: int
    tls: bool


def place(address: str) -> Place:
    """Parse `cip::HOST[:PORT]` or `cips::HOST[:PORT]`; raise ValueError."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(
            f"address: {address!r} is not cip::HOST:PORT or cips::HOST:PORT "
            "(an IPv6 host in brackets)"
        )
    scheme, bracketed, host, port = found.groups()
    number = int(port or PORTS[scheme])
    if not 0 < number < 65536:
        raise ValueError(f"address: port {port} is not 1 to 65535")
    try:
        (host or "").encode("idna")  # as it is looked up
    except UnicodeError as error:
        raise ValueError(
            f"address: {host!r} cannot be the name of a host: {error}"
        ) from error
    return Place(bracketed or host, number, scheme == "cips")


class NamedJoin(config.Labels, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A join with a name, which replaces its number."""

    join: JoinPath
    name: Levels
    signed: bool = False  # an analog is -32768 to 32767
    scale: Scale | None = None  # of an analog: [raw, raw, value, value]

    def __post_init__(self) -> None:
        try:
            parse(self.join)
        except OutOfRange as error:
            raise ValueError(f"join: {error.message}") from error
        if "analog/" not in self.join:
            self._check_not_analog()
        if self.scale is not None:
            self._check_scale(self.scale)

    def _check_not_analog(self) -> None:
        if self.signed:
            raise ValueError("signed: only for an analog join")
        if self.scale:
            raise ValueError("scale: only for an analog join")

    def _check_scale(self, scale: Scale) -> None:
        low, high = (-32768, 32767) if self.signed else (0, 65535)
        first_raw, last_raw, first, last = scale
        if not (low <= first_raw < last_raw <= high):
            raise ValueError(
                f"scale: the first two are raw values, rising, from {low} to {high}"
            )
        if first == last:
            raise ValueError("scale: the last two are the same")


# A device's description is one message of at most 1 MiB; nobody sees a larger one.
Joins = Annotated[
    tuple[NamedJoin, ...],
    Meta(max_length=2000, description="at most 2000 of one device"),
]


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A processor that we are a panel of, or (mode: processor) an IP-ID for panels."""

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
    # of analog and serial joins of smart objects: join - number on the wire
    smart_offset: Literal[0, 1] = 1
    timeout: Seconds = 2.0  # s for the connection, and for each step of the sign-on
    ca_file: str | None = None  # PEM; None: the system's authorities
    fingerprint: config.Fingerprint | None = None  # of the processor's certificate
    insecure: bool = False  # True: any certificate will do
    cert_file: str | None = None  # PEM; of mode processor
    key_file: str | None = None
    # answer of mode processor to a sign-on
    result: Literal["001f", "0003", "200f"] = "001f"
    joins: Joins = ()

    def __post_init__(self) -> None:
        if self.name == "bridge":
            raise ValueError("name: 'bridge' is the bridge itself; choose another")
        tls = place(self.address).tls
        self._check_mode()
        self._check_tls(tls)
        if self.room is not None and self._differs("sign_on"):
            raise ValueError(
                "sign_on: to a room there is but one way to sign on; "
                "allowed: room or sign_on"
            )
        self._check_credentials()
        self._check_joins()

    def _check_mode(self) -> None:
        for mode, keys in _MODE_KEYS.items():
            for key in filter(self._differs, keys):
                if mode != self.mode:
                    raise ValueError(f"{key}: only for mode: {mode}")

    def _check_tls(self, tls: bool) -> None:
        for key in filter(self._differs, _TLS_KEYS):
            if not tls:
                raise ValueError(f"{key}: only with an address of cips::")
        if self.mode == "processor" and tls and self.cert_file is None:
            raise ValueError("cert_file: cips:: needs a certificate of ours")
        trusted = list(filter(self._differs, _TRUST_KEYS))
        if len(trusted) > 1:
            raise ValueError(
                f"{trusted[-1]}: there is {trusted[0]}, too; allowed: one of them"
            )

    def _check_credentials(self) -> None:
        no_password = self.password is None and self.password_file is None
        if (self.username is None) != no_password:
            raise ValueError(
                "username: a username and a password (or password_file) belong together"
            )
        if self.password is not None and self.password_file is not None:
            raise ValueError(
                "password_file: there is a password, too; allowed: one of them"
            )

    def _check_joins(self) -> None:
        for key in ("join", "name"):
            counts = Counter(getattr(each, key) for each in self.joins)
            for value, count in counts.most_common(1):
                if count > 1:
                    raise ValueError(f"joins: {value!r} is there twice")

    def _differs(self, key: str) -> bool:
        """Return whether a key has another value than its default."""
        return bool(getattr(self, key) != _DEFAULTS[key])


_TRUST_KEYS = ("ca_file", "fingerprint", "insecure")
_MODE_KEYS = {  # keys that only one mode has
    "panel": ("sign_on", "timeout", *_TRUST_KEYS),
    "processor": ("cert_file", "key_file", "result"),
}
_TLS_KEYS = (*_TRUST_KEYS, "cert_file", "key_file")
_FILE_KEYS = ("password_file", "ca_file", "cert_file", "key_file")
_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Device)}


class Config(config.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file of cip-bridge."""

    devices: tuple[Device, ...] = ()

    def within(self, folder: Path) -> Self:
        devices = tuple(_within(folder, device) for device in self.devices)
        return replace(super().within(folder), devices=devices)

    def __post_init__(self) -> None:
        config.check_names(device.name for device in self.devices)
        for (host, port), devices in listeners(self.devices).items():
            _check_listener(devices, f"at port {port} of {host}")


def _within(folder: Path, device: Device) -> Device:
    """Return a device whose files are named from a folder."""
    files = {}
    for key in _FILE_KEYS:
        file = getattr(device, key)
        if file is not None:
            files[key] = str(folder / file)
    return replace(device, **files)


def listeners(devices: Iterable[Device]) -> dict[tuple[str, int], list[Device]]:
    """Return the devices of mode processor by host and port; each is one listener."""
    found: dict[tuple[str, int], list[Device]] = {}
    for device in devices:
        if device.mode == "processor":
            where = place(device.address)
            found.setdefault((where.host.lower(), where.port), []).append(device)
    return found


def _check_listener(devices: Sequence[Device], where: str) -> None:
    """Raise ValueError unless the devices can share a port."""
    first = devices[0]
    ipids: set[int] = set()
    for device in devices:
        if device.ipid in ipids:
            raise ValueError(
                f"devices: two devices have IP-ID 0x{device.ipid:02X} {where}; "
                "each needs one of its own"
            )
        if _listener_tls(device) != _listener_tls(first):
            raise ValueError(
                f"devices: {first.name!r} and {device.name!r} are {where}; "
                "allowed: cip:: or cips:: with the same cert_file and key_file"
            )
        ipids.add(device.ipid)


def _listener_tls(device: Device) -> tuple[bool, str | None, str | None]:
    return place(device.address).tls, device.cert_file, device.key_file
