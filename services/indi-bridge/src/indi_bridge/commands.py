"""Commands of a server and its devices that are not actions of a device."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from busbar.bridge import BadRequest, Turn, UnknownTarget, command
from busbar.codecs import indi
from busbar.codecs.indi import EnableBLOB, GetProperties, NewVector
from indi_bridge.blobs.connection import BlobConnection
from indi_bridge.dispatch import ElementDispatcher
from indi_bridge.dump import Dump
from indi_bridge.settings import Server, place
from indi_bridge.vectors import Vector


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `snapshot`; names are those of INDI or of the bus.

    BLOBs are there if they are saved.
    """

    device: str | None = None
    vector: str | None = None
    inc_blob: bool = False
    inc_user_string: bool = False


class GetArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `get_properties`."""

    device: str | None = None
    vector: str | None = None


class Enable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `enable_blob`.

    Images have a connection of their own, so `only` is the same as `also`.
    """

    value: Literal["never", "also", "only"]
    device: str | None = None
    vector: str | None = None


class Raw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `send`: one element for a driver, as XML."""

    element: str


class ServerCommands:
    """Commands that the server's own device has, too."""

    def __init__(
        self,
        settings: Server,
        folder: Path | None,
        dispatcher: ElementDispatcher,
        blobs: BlobConnection,
        define: Callable[[GetProperties], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._dispatcher = dispatcher
        self._blobs = blobs
        self._define = define

    @command(holds="exchange")
    async def snapshot(
        self, device: str, arguments: Snapshot, turn: Turn
    ) -> dict[str, Any]:
        """Return everything that is known, with indipyclient's keys."""
        model = self._dispatcher.model
        dump = Dump(
            self._folder,
            blobs=arguments.inc_blob,
            user_strings=arguments.inc_user_string,
        )
        name, vector = self._target(device, arguments.device, arguments.vector)
        if not name:
            where = place(self._settings.address)
            host = where.host or where.path
            return dump.server(model, host, where.port, connected=True)
        found = model.devices[name]
        if not vector:
            return dump.device(found)
        return dump.vector(found.vectors[vector])

    @command(timeout=30.0)
    async def get_properties(
        self, device: str, arguments: GetArguments, turn: Turn
    ) -> None:
        """Ask for the definitions again; done when they have come."""
        name, vector = self._target(device, arguments.device, arguments.vector)
        await self._define(GetProperties(name, vector))

    @command(holds="exchange")
    async def enable_blob(
        self, device: str, arguments: Enable, turn: Turn
    ) -> list[str]:
        """Ask for images, or for none; returns whose."""
        found = self._blob_vectors(device, arguments)
        if not found:
            raise UnknownTarget("there is no BLOB of that name")
        enable = self._blobs.want
        if arguments.value == "never":
            enable = self._blobs.refuse
        for each in found:
            enable(each.device, each.name)
        return [f"{each.device}.{each.name}" for each in found]

    def _blob_vectors(self, device: str, arguments: Enable) -> list[Vector]:
        """Return the BLOB vectors that a command is about."""
        name = self._original(device, arguments.device)
        found = []
        for each in self._dispatcher.model.vectors():
            asked = arguments.vector in (None, each.name, each.path)
            if each.kind == "BLOB" and name in ("", each.device) and asked:
                found.append(each)
        return found

    def _target(
        self, device: str, asked: str | None, vector: str | None
    ) -> tuple[str, str]:
        """Return the INDI names of device and vector of a command; "" = all."""
        name = self._original(device, asked)
        if vector is None:
            return name, ""
        if not name:
            raise BadRequest("`vector` needs `device`")
        for each in self._dispatcher.model.devices[name].vectors.values():
            if vector in (each.name, each.path):
                return name, each.name
        raise UnknownTarget(f"{name} has no {vector}")

    def _original(self, device: str, asked: str | None) -> str:
        """Return the INDI name of a command's device, or of the asked one; "" = all."""
        if asked is not None:
            return self._dispatcher.original(asked)
        if device == self._settings.name:
            return ""
        return self._dispatcher.original(device)


class DriverCommands:
    """Commands that each device has."""

    def __init__(
        self,
        dispatcher: ElementDispatcher,
        send: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._dispatcher = dispatcher
        self._send = send

    @command(
        title=(
            "Send one element to the driver as it is, for experiments; done "
            "when the server has read it"
        ),
        holds="exchange",
    )
    async def send(self, device: str, arguments: Raw, turn: Turn) -> None:
        """Send one element to the driver as it is, for experiments.

        Done when the server has read it.
        """
        name = self._dispatcher.original(device)
        data = arguments.element.encode()
        found = _whole_element(data)
        if found is None:
            raise BadRequest(
                f"{arguments.element!r:.60} is not one whole new...Vector, "
                f"getProperties or enableBLOB"
            )
        if found.device != name:
            raise BadRequest(f"the element is for {found.device!r}, not for {name!r}")
        await self._send(data)


def _whole_element(data: bytes) -> NewVector | GetProperties | EnableBLOB | None:
    """Return the one element that data are, None if they are not one for a driver."""
    reader = indi.ElementReader()
    reader.feed(data)
    # it comes out again if nothing unfinished is before it
    reader.feed(indi.encode(indi.PingReply("")))
    elements = list(reader.elements())
    if len(elements) != 2:
        return None
    first = elements[0]
    if isinstance(first, NewVector | GetProperties | EnableBLOB):
        return first
    return None
