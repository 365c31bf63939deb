"""The connection for BLOBs, so that images never delay values.

Source: docs/protocols/indi.md, 4.13 and 4.14.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from busbar.bridge import LinkLost, leaf
from busbar.bridge.streams import ByteStream
from busbar.codecs.indi import Element, EnableBLOB, GetProperties
from indi_bridge.connection import Connection

log = logging.getLogger("busbar.indi")

RETRY = 1.0  # s; the connection for values tells that a server is gone

Key = tuple[str, str]  # device, vector


class BlobLink:
    """Asks the server for the BLOBs of the vectors that are wanted, and only for these."""

    def __init__(
        self,
        open_: Callable[[], Awaitable[ByteStream]],
        take: Callable[[list[Element]], None],
    ) -> None:
        self._open, self._take = open_, take
        self._wanted: dict[Key, None] = {}
        self._refused: set[Key] = set()  # somebody has said so
        self._told: set[Key] = set()  # what the server knows
        self._changed = asyncio.Event()
        self._connection: Connection | None = None
        self._errors = 0  # of connections that have ended

    @property
    def errors(self) -> int:
        """Elements that could not be read."""
        return self._errors + (
            self._connection.reader.errors if self._connection else 0
        )

    def offer(self, device: str, vector: str) -> None:
        """A BLOB is defined, perhaps again.

        It is wanted unless somebody has said that it is not.
        """
        if (device, vector) not in self._refused:
            self.want(device, vector)

    def wants(self, device: str, vector: str) -> bool:
        return (device, vector) in self._wanted

    def want(self, device: str, vector: str) -> None:
        self._refused.discard((device, vector))
        self._wanted[device, vector] = None
        self._changed.set()

    def forget(self, device: str, vector: str) -> None:
        self._refused.add((device, vector))
        self._wanted.pop((device, vector), None)
        self._changed.set()

    async def run(self) -> None:
        """Keep the connection as long as anything is wanted."""
        while True:
            if not self._wanted:
                self._changed.clear()
                await self._changed.wait()
                continue
            # A task of its own: a TaskGroup that fails at the same moment swallows a
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
        await self._serve(Connection(await self._open(), self._take))

    async def _serve(self, connection: Connection) -> None:
        self._told, self._connection = set(), connection
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.serve(), name="blobs")
                tasks.create_task(self._tell(connection), name="blobs wanted")
        finally:
            self._errors, self._connection = self.errors, None
            await connection.close()

    async def _tell(self, connection: Connection) -> None:
        while True:
            self._changed.clear()
            for device, vector in self._wanted.keys() - self._told:
                await connection.send(
                    GetProperties(device, vector), EnableBLOB(device, "Only", vector)
                )
            for device, vector in self._told - self._wanted.keys():
                await connection.send(EnableBLOB(device, "Never", vector))
            self._told = set(self._wanted)
            await self._changed.wait()
