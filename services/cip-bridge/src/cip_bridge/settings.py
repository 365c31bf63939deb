"""Configuration of the CIP bridge."""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import config
from busbar.codecs import cip
from busbar.codecs.cip import Encoding
from cip_bridge.named_joins import Joins, Resend, check_joins, expanded

Seconds = Annotated[
    float,
    Meta(
        gt=0,
        le=5,
        description="more than 0, at most 5 s: "
        "all steps have to fit into half a minute",
    ),
]
IPID_LIMIT = 0xFFFE  # what the wire has room for; processors have 0x03 to 0xFE
_IPID_ALLOWED = '0x03 to 0xFE as Crestron writes it: 0x0A, 0Ah, or "0A" (text is hex)'
# A number is taken from the file as it is written there: 0x14 is text, too.
IpId = (
    int
    | Annotated[
        str,
        Meta(
            pattern=r"^(0[xX])?[0-9A-Fa-f]{1,4}[hH]?(?!\n)$",
            description=_IPID_ALLOWED,
            extra={"hexadecimal": True},
        ),
    ]
)
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


def parse_ipid(written: int | str) -> int:
    """Return an IP-ID; raise ValueError unless it can be read in one way only."""
    if isinstance(written, int) and not 0 <= written <= 9:
        readings = f"0x{written:02X} if it is decimal"
        if written > 0:
            readings += f", 0x{written} as Crestron writes it"
        raise ValueError(f"ipid: {written} is {readings}; allowed: {_IPID_ALLOWED}")
    number = int(str(written).lower().removeprefix("0x").removesuffix("h"), 16)
    if not 1 <= number <= IPID_LIMIT:
        raise ValueError(f"ipid: {written} is not within {_IPID_ALLOWED}")
    return number


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
    serial_form: Literal["long", "short"] = "long"  # short: where it fits, 250 bytes
    # what is sent again after a sign-on; changed: what nothing has overtaken
    resend: Resend = "changed"
    # joins whose every message is an event, also of a value that is as before
    received: Literal["serial", "all", "none"] = "serial"
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
    joins_file: str | None = None  # CSV with more of them

    def __post_init__(self) -> None:
        if self.name == "bridge":
            raise ValueError("name: 'bridge' is the bridge itself; choose another")
        parse_ipid(self.ipid)
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

    @property
    def ipid_number(self) -> int:
        return parse_ipid(self.ipid)

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
        check_joins(expanded(self.joins))
        if self.mode == "processor" and any(each.resend for each in self.joins):
            raise ValueError("joins: resend: only for mode: panel")

    def _differs(self, key: str) -> bool:
        """Return whether a key has another value than its default."""
        return bool(getattr(self, key) != _DEFAULTS[key])


def style(settings: Device) -> cip.Style:
    """Return the style of what we send."""
    return cip.Style(
        encoding=settings.serial_encoding,
        smart_offset=settings.smart_offset,
        short_text=settings.serial_form == "short",
    )


_TRUST_KEYS = ("ca_file", "fingerprint", "insecure")
_MODE_KEYS = {  # keys that only one mode has
    "panel": ("sign_on", "timeout", "resend", *_TRUST_KEYS),
    "processor": ("cert_file", "key_file", "result"),
}
_TLS_KEYS = (*_TRUST_KEYS, "cert_file", "key_file")
_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Device)}


class Config(config.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file of cip-bridge."""

    devices: tuple[Device, ...] = ()

    def __post_init__(self) -> None:
        config.check_names(device.name for device in self.devices)
        _check_panels(self.devices)
        for (host, port), devices in listeners(self.devices).items():
            _check_listener(devices, f"at port {port} of {host}")


def listeners(devices: Iterable[Device]) -> dict[tuple[str, int], list[Device]]:
    """Return the devices of mode processor by host and port; each is one listener."""
    found: dict[tuple[str, int], list[Device]] = {}
    for device in devices:
        if device.mode == "processor":
            where = place(device.address)
            found.setdefault((where.host.lower(), where.port), []).append(device)
    return found


def _check_panels(devices: Iterable[Device]) -> None:
    """Raise ValueError for two devices that are the same panel."""
    found: dict[object, str] = {}
    for device in devices:
        if device.mode == "panel":
            where = (place(device.address), device.ipid_number, device.room)
            other = found.setdefault(where, device.name)
            if other != device.name:
                raise ValueError(
                    f"devices: {other!r} and {device.name!r} are the same panel: "
                    f"IP-ID 0x{device.ipid_number:02X} of {device.address}"
                )


def _check_listener(devices: Sequence[Device], where: str) -> None:
    """Raise ValueError unless the devices can share a port."""
    first = devices[0]
    ipids: set[int] = set()
    for device in devices:
        if device.ipid_number in ipids:
            raise ValueError(
                f"devices: two devices have IP-ID 0x{device.ipid_number:02X} {where}; "
                "each needs one of its own"
            )
        if _listener_tls(device) != _listener_tls(first):
            raise ValueError(
                f"devices: {first.name!r} and {device.name!r} are {where}; "
                "allowed: cip:: or cips:: with the same cert_file and key_file"
            )
        ipids.add(device.ipid_number)


def _listener_tls(device: Device) -> tuple[bool, str | None, str | None]:
    return place(device.address).tls, device.cert_file, device.key_file
