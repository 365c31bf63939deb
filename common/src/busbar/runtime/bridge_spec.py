"""Specification of one bridge, made by `service` from the configuration."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from busbar.contract import messages
from busbar.link.session import Link
from busbar.net.endpoint import Endpoint
from busbar.runtime.bridge_device import Found


class Openable(Protocol):
    """Settings of a device that the command `open` takes."""

    name: str
    address: str


@dataclass(frozen=True)
class BridgeSpec:
    """One bridge: its broker, its links, its limits."""

    kind: str
    name: str
    endpoint: Endpoint
    links: Sequence[Link]
    root: str = "busbar"
    leaves: Sequence[str] = ("#",)
    allow_open: Sequence[str] = ()
    allow_shutdown: bool = False
    max_command: int = messages.COMMAND_LIMIT
    max_message: int = messages.MESSAGE_LIMIT
    folder: Path | None = None
    # bytes of the largest, on an MQTT connection of their own; 0: there is none
    blobs_apart: int = 0
    # settings of one device, for the command `open`
    opens: type[msgspec.Struct] | None = None
    open: Callable[[Any], Link] | None = None
    scan: Callable[[], Awaitable[Sequence[Found]]] | None = None
