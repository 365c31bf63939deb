"""The role of a processor: a port that panels connect to.

Source: docs/protocols/cip.md, 2 and 5.2.
"""

import asyncio
import logging
import math
import socket
import ssl
from collections.abc import Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import Self

from busbar.codecs import cip
from cip_bridge.processor_role.panel_connection import Panel
from cip_bridge.processor_role.program import Program, Seat

log = logging.getLogger("busbar.cip")

PANELS_LIMIT = 100
TOLD = 60.0  # s between lines about panels that are turned away


class Listener(Program):
    """All seats on one port; entered = panels may connect, left = all are gone."""

    def __init__(
        self,
        host: str,
        port: int,
        seats: Iterable[Seat],
        tls: ssl.SSLContext | None = None,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        super().__init__(seats, now)
        self.host, self.port, self.tls = host, port, tls
        self._tasks = asyncio.TaskGroup()
        self._open: dict[asyncio.Task[None], Panel] = {}
        self._server: asyncio.Server | None = None
        self._told = -math.inf  # loop time of the last line about a panel too many

    async def listen(self) -> None:
        """Accept connections; raise OSError."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._connected, self.host, self.port, ssl=self.tls
            )
            self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Accept no more connections; those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def end_program(self) -> None:
        """Tell all panels that the program stops, as before it is loaded again."""
        for panel in list(self._open.values()):
            panel.send(cip.encode(cip.Disconnect()))

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        try:
            await self.listen()
        except BaseException:
            await self._tasks.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()
        self.end_program()
        for task in self._open:
            task.cancel()
        # an error of the caller stays what it is, not a group
        await self._tasks.__aexit__(None, None, None)

    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._server is None or len(self._open) >= PANELS_LIMIT:
            self._turn_away(writer)
            return
        if (sock := writer.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        panel = Panel(self, reader, writer)
        task = self._tasks.create_task(panel.run(), name=f"panel {panel.address}")
        self._open[task] = panel
        task.add_done_callback(self._open.pop)

    def _turn_away(self, writer: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time()
        if self._server is not None and now > self._told + TOLD:
            self._told = now
            log.warning(
                ("port %d: there are %d panels, more are turned away"),
                self.port,
                PANELS_LIMIT,
            )
        writer.transport.abort()
