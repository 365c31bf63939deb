"""Configuration of the INDI bridge."""

import fnmatch
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from busbar.bridge import config

Seconds = Annotated[float, Meta(gt=0, le=86400)]
BLOB_LIMIT = 120 * 1024 * 1024  # bytes; the queue of images holds 128 MiB

_ADDRESS = re.compile(
    r"indi::(?:\[([0-9A-Fa-f:.]+(?:%\w+)?)\]|([^\s:/@\[\]]+))(?::(\d{1,5}))?",
    re.ASCII,
)
_UNIX = re.compile(r"indi::(@?/\S{1,100})", re.ASCII)
PORT = 7624


class Place(msgspec.Struct, frozen=True):
    """Where a server listens.

    Host and port, or the path of a unix socket (`@` first: an abstract one).
    """

    host: str
    port: int
    path: str = ""


def place(address: str) -> Place:
    """Return the place that `indi::HOST[:PORT]` or `indi::/path` names.

    Raise ValueError.
    """
    unix = _UNIX.fullmatch(address)
    if unix is not None:
        return Place("", 0, unix[1])
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(
            f"address: {address!r} is not indi::HOST:PORT "
            f"(an IPv6 host in brackets) or indi::/path"
        )
    bracketed, host, port = found.groups()
    number = int(port) if port else PORT
    if not 0 < number < 65536:
        raise ValueError(f"address: port {port} is not 1 to 65535")
    return Place(bracketed or host, number)


class Blobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What becomes of images and other BLOBs."""

    mode: Literal["never", "also", "only"] = "also"
    # bytes; a larger one is only saved. A frame of 61 megapixels has 117 MiB
    limit: config.Size = BLOB_LIMIT
    save: str | None = None  # folder, from the file's own; None: nothing is saved
    # bounds of the folder: beyond them the oldest images are removed (None: never)
    keep_size: config.Size | None = None  # bytes
    keep_days: Annotated[float, Meta(gt=0, le=36500)] | None = None
    keep_free: config.Size = 1024**3  # bytes of the disk; nothing is saved below
    retain: bool = False
    preview: Literal["jpeg"] | None = None
    # frames of a video per second; older ones are dropped
    stream: Annotated[float, Meta(gt=0, le=1000)] = 5.0

    def __post_init__(self) -> None:
        if self.limit > BLOB_LIMIT:
            raise ValueError("limit: at most 120MiB")


class Timeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Silence after a set that is reported.

    The vector's own timeout (s), within these bounds.
    """

    enable: bool = True
    min: Seconds = 2.0
    max: Seconds = 10.0

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError(f"min: {self.min:g} is above max: {self.max:g}")

    def patience(self, timeout: float) -> float | None:
        """Return the silence (s) after a set that is reported; None: never.

        Source: indipyclient's set_vector_timeouts.
        """
        if not self.enable:
            return None
        return min(max(timeout, self.min), self.max)


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which devices are served, by patterns of their INDI names."""

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        return matches(self.include, name) and not matches(self.exclude, name)


class Drivers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the server's drivers are started and stopped: by one of the two."""

    fifo: str | None = None  # that indiserver reads (its option -f)
    manager: str | None = None  # URL of the INDI web manager
    allow: tuple[str, ...] = ("indi_*",)  # patterns of drivers, or of their labels

    def __post_init__(self) -> None:
        if (self.fifo is None) == (self.manager is None):
            raise ValueError("drivers: either fifo or manager is needed")
        manager = self.manager
        if manager is not None and not manager.startswith(("http://", "https://")):
            raise ValueError(f"drivers: manager: {manager!r} is no http:// URL")


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One INDI server and its devices."""

    name: config.Name
    address: str  # indi::HOST[:PORT] or indi::/path
    title: str | None = None
    prefix: bool = False  # True: its name goes before those of its devices
    # patterns of INDI names: their CONNECTION is switched on
    connect: tuple[str, ...] = ()
    devices: Selection = Selection()
    # INDI name of a device -> its name on the bus
    names: Mapping[str, config.Name] = {}
    # patterns of device/vector/member that are properties of their own, too
    members: tuple[str, ...] = ()
    blobs: Blobs = Blobs()
    timeouts: Timeouts = Timeouts()
    drivers: Drivers | None = None  # None: drivers are only listed
    timeout: Seconds = 5.0  # s for the connection
    received: bool = False  # True: an event for every set
    # True: numbers must be whole steps from the minimum; drivers mean them as hints
    steps: bool = False
    # patterns of device/vector: switches that are Busy as long as they are on, besides
    # the standard ones (video, motion)
    busy_while_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.name == "bridge":
            raise ValueError("name: 'bridge' is the bridge itself; choose another")
        taken = Counter(self.names.values())
        for name, count in sorted(taken.items()):
            if count > 1:
                raise ValueError(f"names: {name!r} is there twice")
        if "bridge" in taken or self.name in taken:
            raise ValueError(
                "names: a device cannot have the name of the bridge's device or "
                "of its server"
            )
        if place(self.address).path and self.blobs.mode != "never":
            raise ValueError(
                "blobs: mode: over a unix socket a server passes BLOBs in shared "
                "memory; allowed: never"
            )


class Config(config.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file of indi-bridge."""

    servers: tuple[Server, ...] = ()

    def __post_init__(self) -> None:
        config.check_names(server.name for server in self.servers)

    def within(self, folder: Path) -> Self:
        """Return it with its paths taken from `folder`."""
        servers = []
        for server in self.servers:
            blobs = server.blobs
            if blobs.save:
                blobs = replace(blobs, save=str(folder / blobs.save))
            servers.append(replace(server, blobs=blobs))
        return replace(super().within(folder), servers=tuple(servers))


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Return whether one of the patterns (`*`, `?`, `[...]`) covers a name."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
