"""Links and descriptions: what the configuration asks for."""

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
from indi_bridge.publisher import MESSAGES, Kept, Note
from indi_bridge.session import Session
from indi_bridge.settings import Config, Server

OWN = by_path(
    [
        MESSAGES,
        Property(
            "definitions_complete",
            bool,
            title=("No definition has come for a while: all are there"),
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
ROOM = 1024  # bytes of a message beside its payload
COMMANDS = ("snapshot", "get_properties", "enable_blob")


def server_link(settings: Server) -> Link:
    """Return the link to one server."""
    if settings.blobs.save and not Path(settings.blobs.save).is_dir():
        raise ConfigError(
            f"servers: {settings.name}: blobs: save: there is no folder "
            f"{settings.blobs.save}"
        )
    kept: dict[str, Kept] = {}

    @contextlib.asynccontextmanager
    async def open_(port: Port) -> AsyncIterator[Session]:
        session = Session(port, settings, kept)
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
    """Return what the server itself is on the bus."""
    own = {name: each for name, each in commands(Session).items() if name in COMMANDS}
    return Description("indi", OWN, own, EVENTS, name=settings.title)


def links(settings: Config) -> Iterable[Link]:
    return map(server_link, settings.servers)


def largest(settings: Config) -> int:
    """Return the bytes that a message with a BLOB may have."""
    return max([each.blobs.limit for each in settings.servers], default=0) + ROOM


SERVICE = Service(
    "indi", Config, links, device=Server, open=server_link, blobs_apart=largest
)
