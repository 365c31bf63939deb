"""The configuration of the stream bridge."""

from functools import cached_property
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import config
from busbar.bridge.values import Encoding
from busbar.codecs.framing import CHECKS, Checked, Framing
from stream_bridge.address import Place, place
from stream_bridge.fields import Field, Seconds
from stream_bridge.framings import FramingKind, Line

Pause = Annotated[float, Meta(ge=0, le=60)]
ROWS_LIMIT = 1000  # frames of one batch


class Device(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True
):
    """One stream and the device at its end."""

    name: config.Name
    address: str
    title: str | None = None
    framing: FramingKind = msgspec.field(default_factory=Line)
    # at the end of each frame: added, tried and taken away
    checksum: str | None = None
    charset: Literal["utf-8", "ascii", "latin1"] = "utf-8"
    # how bytes are written in events and results where the caller does not say
    data: Encoding = "text"
    fields: tuple[Field, ...] = ()
    # frames as event/frame, many in one event/frames, or not at all
    publish: Literal["single", "batched", "none"] = "single"
    interval: Seconds = 0.05  # s that frames gather for a batch
    timeout: Seconds = 2.0  # s for an answer
    connect_timeout: Seconds = 5.0
    settle: Pause = 1.0  # s of silence after an answer that did not come
    resync: Literal["auto", "reopen", "quiet"] = "auto"
    connect: Literal["always", "on_demand"] = "always"
    idle_close: Seconds = 60.0  # s; with on_demand
    flow: Literal["none", "hardware", "software"] = "none"
    dtr: bool | None = None  # at open; null: as the system does
    rts: bool | None = None
    low_latency: bool = True
    ca_file: str | None = None  # of tls::; null: the system's authorities
    fingerprint: config.Fingerprint | None = None
    insecure: bool = False
    cert_file: str | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        if self.name == "bridge":
            raise ValueError("name: 'bridge' is the bridge itself; choose another")
        where = place(self.address)
        if where.transport == "listen":
            raise ValueError("address: listen:: is not served yet")
        if self.checksum is not None and self.checksum not in CHECKS:
            allowed = ", ".join(CHECKS)
            raise ValueError(f"checksum: {self.checksum!r}; allowed: {allowed}")
        paths = [each.path for each in self.fields]
        for path in paths:
            if paths.count(path) > 1:
                raise ValueError(f"fields: {path!r} is there twice")
            if where.is_port and path in ("dtr", "rts", "cts", "dsr", "ri", "dcd"):
                raise ValueError(f"fields: {path!r} is a modem line of the port")

    @cached_property
    def place(self) -> Place:
        """Where the stream is."""
        return place(self.address)

    @property
    def reopens(self) -> bool:
        """Whether a new connection settles what is owed."""
        if self.resync == "auto":
            return self.place.loses_nothing
        return self.resync == "reopen"

    def reader(self) -> Framing:
        """Return the framing, with its checksum."""
        inner = self.framing.build()
        if self.checksum is None:
            return inner
        return Checked(inner, CHECKS[self.checksum])

    @property
    def terminator(self) -> bytes:
        """What ends a line of `write_line` where the caller does not say."""
        return self.framing.bytes if isinstance(self.framing, Line) else b"\n"


class Config(config.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file of stream-bridge."""

    devices: tuple[Device, ...] = ()

    def __post_init__(self) -> None:
        config.check_names(device.name for device in self.devices)
