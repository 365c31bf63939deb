"""Session with one INDI server: sets and commands of its devices and of itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from busbar.bridge import BadRequest, DeviceTimeout, Port, Turn, commands
from busbar.codecs.indi import Element, GetProperties
from indi_bridge.actions.accessories import AccessoryActions
from indi_bridge.actions.camera import CameraActions
from indi_bridge.actions.general import GeneralActions, offered
from indi_bridge.actions.motion import Motions
from indi_bridge.actions.mount import MountActions
from indi_bridge.blobs.awaited import AwaitedImage
from indi_bridge.blobs.connection import BlobConnection
from indi_bridge.blobs.folder import BlobFolder, Bounds
from indi_bridge.blobs.receive import BlobReceiver
from indi_bridge.commands import DriverCommands, ServerCommands
from indi_bridge.connection import IndiConnection, open_stream
from indi_bridge.dispatch import ElementDispatcher, Requests
from indi_bridge.driver_commands import DriverControl
from indi_bridge.properties import given_members, member_value
from indi_bridge.publisher import DeviceMemory
from indi_bridge.sets import VectorSets
from indi_bridge.settings import Blobs, Server

DEFINED = 0.2  # s without a definition after one that was asked for: these were all
ANSWER = 10.0  # s for the first of them
REQUESTS = 1000  # elements that wait to be sent
COUNTS = 1.0  # s between publications of the counts

DEVICE_COMMANDS = commands(
    GeneralActions,
    MountActions,
    CameraActions,
    AccessoryActions,
    ServerCommands,
    DriverCommands,
)
DAY = 86400.0  # s


class IndiSession:
    """Serves the devices of one server over one connection."""

    def __init__(
        self, port: Port, settings: Server, memories: dict[str, DeviceMemory]
    ) -> None:
        self._settings = settings
        self._folder = _folder(settings.blobs)
        self._requests: asyncio.Queue[Element] = asyncio.Queue(REQUESTS)
        self._dispatcher = ElementDispatcher(
            port,
            settings,
            memories,
            partial(offered, DEVICE_COMMANDS),
            BlobReceiver(settings.blobs.limit, self._folder),
            Requests(self._requests.put_nowait, self._offer_blob),
        )
        self._blobs = BlobConnection(
            partial(open_stream, settings), self._dispatcher.take_blobs
        )
        self._connection: IndiConnection | None = None
        self._sets = VectorSets(self._dispatcher, self._send, steps=settings.steps)
        motions = Motions(self._sets)
        folder = self._folder.path if self._folder else None
        self.commands = (
            GeneralActions(self._sets),
            MountActions(self._sets, motions),
            CameraActions(self._sets, motions, self._image_of),
            AccessoryActions(self._sets, motions),
            ServerCommands(
                settings, folder, self._dispatcher, self._blobs, self._define
            ),
            DriverCommands(self._dispatcher, self._send_raw),
            DriverControl(settings.drivers, self._dispatcher.model),
        )

    async def open(self) -> None:
        """Connect and ask for everything; raise LinkLost."""
        stream = await open_stream(self._settings)
        self._connection = IndiConnection(stream, self._dispatcher.take)
        await self._connection.send(GetProperties())

    async def serve(self) -> None:
        self._dispatcher.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._values.serve(), name="values")
            tasks.create_task(self._send_requests(), name="requests")
            tasks.create_task(self._blobs.run(), name="blobs")
            tasks.create_task(self._publish_counts(), name="counts")

    async def close(self) -> None:
        await self._dispatcher.close()
        if self._connection is not None:
            await self._connection.close()

    async def refresh(self, device: str) -> None:
        name = ""
        if device != self._settings.name:
            name = self._dispatcher.publisher(device).device.name
        await self._define(GetProperties(name))

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        vector, member = self._dispatcher.publisher(device).find(path)
        if member is not None:
            given = member_value(vector, vector.members[member], value)
            await self._sets.set(vector, {member: given}, turn)
            return self._sets.vector(device, vector.name).members[member].shown
        members, time = given_members(vector, value)
        await self._sets.set(vector, members, turn, time=time)
        return self._sets.vector(device, vector.name).value()

    @property
    def _values(self) -> IndiConnection:
        """The connection for values."""
        assert self._connection is not None  # opened before anything is asked
        return self._connection

    def _offer_blob(self, device: str, vector: str) -> None:
        self._blobs.offer(device, vector)

    async def _send(self, element: Element) -> None:
        await self._values.send(element)

    async def _send_raw(self, data: bytes) -> None:
        """Send an element as it is; return when the server has read it."""
        await self._values.send_raw(data)
        await self._values.arrived()

    async def _send_requests(self) -> None:
        while True:
            await self._send(await self._requests.get())

    @asynccontextmanager
    async def _image_of(
        self, device: str, exposure: str, vector: str, seconds: float
    ) -> AsyncIterator[AwaitedImage]:
        """Await the image of an exposure that begins now; older ones have come."""
        if not self._blobs.wants(self._dispatcher.original(device), vector):
            raise BadRequest(
                f"images of {vector} do not come here: `enable_blob` and `blobs: mode` "
                f"ask for them; set/CCD_EXPOSURE exposes without them"
            )
        await self._blobs.flushed()
        image = AwaitedImage(device, exposure, vector, seconds)
        with self._dispatcher.images.awaited(image):
            yield image

    async def _define(self, ask: GetProperties) -> None:
        """Ask for definitions and wait until they have come."""
        came = self._dispatcher.definition_came
        came.clear()
        await self._send(ask)
        try:
            async with asyncio.timeout(ANSWER):
                await came.wait()
        except TimeoutError as error:
            raise DeviceTimeout(f"nothing was defined within {ANSWER:g} s") from error
        while came.is_set():
            came.clear()
            await asyncio.sleep(DEFINED)

    async def _publish_counts(self) -> None:
        connection = self._values
        reader = connection.reader
        while True:
            rtt = connection.rtt
            self._dispatcher.publish_counts(
                errors=reader.errors + self._blobs.errors,
                latin1=reader.latin1,
                rtt=None if rtt is None else round(rtt, 4),
            )
            await asyncio.sleep(COUNTS)


def _folder(settings: Blobs) -> BlobFolder | None:
    """Return the folder that images are saved to, if there is one."""
    if settings.save is None:
        return None
    age = None if settings.keep_days is None else settings.keep_days * DAY
    bounds = Bounds(settings.keep_size, age, settings.keep_free)
    return BlobFolder(Path(settings.save), bounds)
