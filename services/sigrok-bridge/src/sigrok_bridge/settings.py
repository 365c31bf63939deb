"""The configuration of the sigrok bridge."""

import re
from collections import Counter
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import config

PROGRAM = "sigrok-cli"
CAPTURE_LIMIT = 64 * 1024 * 1024  # bytes of samples, held in memory while they are read
Seconds = Annotated[float, Meta(gt=0, le=86400)]

# driver[:key=value...], as sigrok-cli lists it; comsrv put `sigrok::` before it
_ADDRESS = re.compile(
    r"(?:sigrok::)?([a-z0-9][a-z0-9-]{0,63}(?::[a-z_]{1,64}=[^\s:=]{1,200}){0,16})",
    re.ASCII,
)


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One instrument that sigrok has a driver for."""

    name: config.Name
    address: str  # [sigrok::]DRIVER[:conn=...]
    title: str | None = None
    # s for sigrok-cli beside the time of the samples
    timeout: Seconds = 10.0
    every: Seconds = 30.0  # s between looks whether it is there, and at its options
    capture_limit: config.Size = CAPTURE_LIMIT  # bytes of samples of one capture
    connect: Literal["always", "on_demand"] = "always"
    idle_close: Seconds = 60.0  # s; with on_demand

    def __post_init__(self) -> None:
        if self.name == "bridge":
            raise ValueError("name: 'bridge' is the bridge itself; choose another")
        driver(self.address)


class Config(config.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file of sigrok-bridge."""

    program: Annotated[str, Meta(min_length=1)] = PROGRAM  # a path, or looked for
    devices: tuple[Device, ...] = ()

    def __post_init__(self) -> None:
        config.check_names(device.name for device in self.devices)
        counts = Counter(driver(device.address) for device in self.devices)
        for address, count in counts.items():
            if count > 1:
                raise ValueError(f"devices: {count} have the address {address}")


def driver(address: str) -> str:
    """Return what sigrok-cli takes for an address; raise ValueError.

    `sigrok::demo` crashes it.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(
            f"address: {address!r} is not DRIVER[:conn=...], such as demo, "
            "fx2lafw:conn=1.7 or rigol-ds:conn=usbtmc/1.5"
        )
    return match[1]
