"""Links and descriptions that the configuration asks for."""

import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from busbar.bridge import (
    ConfigError,
    Description,
    Event,
    Link,
    Port,
    Property,
    Service,
    by_path,
    commands,
)
from indi_bridge.commands import ServerCommands
from indi_bridge.driver_commands import DriverControl
from indi_bridge.events import MESSAGES, Note
from indi_bridge.publisher import DeviceMemory
from indi_bridge.session import IndiSession
from indi_bridge.settings import Config, Server

PROPERTIES = by_path(
    [
        MESSAGES,
        Property(
            "definitions_complete",
            bool,
            title="No definition has come for a while: all are there",
        ),
        Property("devices", int, title="Devices"),
        Property("vectors", int, title="Properties of all devices"),
        Property("members", int, title="Members of all properties"),
        Property("errors", int, title="Elements that could not be read as they are"),
        Property("latin1", int, title="Texts that were not UTF-8"),
        Property("ignored", int, title="Elements about what is not defined"),
        Property("blobs_lost", int, title="BLOBs that could not be read"),
        Property("frames_dropped", int, title="Frames of videos that were too many"),
        Property("rtt", float | None, title="Last ping of the server", unit="s"),
    ]
)
EVENTS = {
    "message": Event("message", Note, "A message that is of no device"),
    "snoop": Event("snoop", dict[str, str], "A driver asks for properties of others"),
}
ROOM = 1024  # bytes of a message besides its payload


def server_link(settings: Server) -> Link:
    """Return the link to one server."""
    folder = settings.blobs.save
    if folder and not Path(folder).is_dir():
        raise ConfigError(
            f"servers: {settings.name}: blobs: save: there is no folder {folder}"
        )
    memories: dict[str, DeviceMemory] = {}

    @contextlib.asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[IndiSession]:
        session = IndiSession(port, settings, memories)
        try:
            await session.open()
            yield session
        finally:
            await session.close()

    return Link(
        settings.name,
        settings.address,
        open_,
        {settings.name: describe(settings)},
        config=settings,
        finds=True,
    )


def describe(settings: Server) -> Description:
    """Return the description of the server's own device."""
    own = commands(ServerCommands, DriverControl)
    return Description("indi", PROPERTIES, own, EVENTS, name=settings.title)


def links(settings: Config) -> Iterable[Link]:
    return map(server_link, settings.servers)


def largest(settings: Config) -> int:
    """Return the bytes that a message with a BLOB may have."""
    limits = [each.blobs.limit for each in settings.servers]
    return max(limits, default=0) + ROOM


SERVICE = Service(
    "indi", Config, links, device=Server, open=server_link, blobs_apart=largest
)
