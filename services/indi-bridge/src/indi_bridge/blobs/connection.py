"""Connection for BLOBs, so that images never delay values.

Source: docs/protocols/indi.md, 4.13 and 4.14.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from busbar.bridge.errors import LinkLost, leaf
from busbar.bridge.streams import ByteStream
from busbar.codecs.indi import EnableBLOB, GetProperties
from indi_bridge.connection import IndiConnection, OnElements

log = logging.getLogger("busbar.indi")

FLUSHED = 60.0  # s: images of many megabytes may be before the answer
RETRY = 1.0  # s; the connection for values finds that a server is gone

Key = tuple[str, str]  # device, vector


class BlobConnection:
    """Asks the server for the BLOBs of the wanted vectors, and only for these."""

    def __init__(
        self,
        open_: Callable[[], Awaitable[ByteStream]],
        on_elements: OnElements,
    ) -> None:
        self._open = open_
        self._on_elements = on_elements
        self._wanted: dict[Key, None] = {}
        self._refused: set[Key] = set()  # by a command
        self._enabled: set[Key] = set()  # on the server
        self._changed = asyncio.Event()
        self._up = asyncio.Event()  # the server has been asked for all that is wanted
        self._connection: IndiConnection | None = None
        self._errors = 0  # of connections that have ended

    @property
    def errors(self) -> int:
        """Elements that could not be read."""
        if self._connection is None:
            return self._errors
        return self._errors + self._connection.reader.errors

    def offer(self, device: str, vector: str) -> None:
        """Want a BLOB that is defined, perhaps again, unless a command refused it."""
        if (device, vector) not in self._refused:
            self.want(device, vector)

    def wants(self, device: str, vector: str) -> bool:
        return (device, vector) in self._wanted

    def want(self, device: str, vector: str) -> None:
        self._refused.discard((device, vector))
        self._wanted[device, vector] = None
        self._up.clear()
        self._changed.set()

    def refuse(self, device: str, vector: str) -> None:
        self._refused.add((device, vector))
        self._wanted.pop((device, vector), None)
        self._changed.set()

    async def flushed(self) -> None:
        """Return when everything has come that the server had for us until now.

        Raise LinkLost if the connection is down for longer than a moment.
        """
        try:
            async with asyncio.timeout(FLUSHED):
                await self._up.wait()
                connection = self._connection
                if connection is not None:
                    await connection.arrived(FLUSHED)
        except TimeoutError as error:
            raise LinkLost("the connection for images is down") from error

    async def run(self) -> None:
        """Keep the connection as long as anything is wanted."""
        while True:
            if not self._wanted:
                self._changed.clear()
                await self._changed.wait()
                continue
            # Its own task: a TaskGroup that fails at the same moment swallows a
            # cancellation (Python 3.11).
            serving = asyncio.create_task(self._open_and_serve(), name="blobs")
            try:
                await asyncio.wait([serving])
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
            why = leaf(serving.exception() or LinkLost("it has ended"))
            if not isinstance(why, LinkLost):
                raise why
            log.info("the connection for BLOBs: %s", why)
            await asyncio.sleep(RETRY)

    async def _open_and_serve(self) -> None:
        connection = IndiConnection(await self._open(), self._on_elements)
        self._enabled = set()
        self._connection = connection
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.serve(), name="blobs")
                tasks.create_task(self._enable(connection), name="blobs wanted")
        finally:
            self._errors = self.errors
            self._connection = None
            self._up.clear()
            await connection.close()

    async def _enable(self, connection: IndiConnection) -> None:
        """Keep the server's policy of each vector as it is wanted."""
        while True:
            self._changed.clear()
            wanted = self._wanted.keys()
            for device, vector in wanted - self._enabled:
                await connection.send(
                    GetProperties(device, vector), EnableBLOB(device, "Only", vector)
                )
            for device, vector in self._enabled - wanted:
                await connection.send(EnableBLOB(device, "Never", vector))
            self._enabled = set(wanted)
            self._up.set()
            await self._changed.wait()
