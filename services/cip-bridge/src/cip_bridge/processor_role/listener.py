"""Port that panels connect to.

Source: docs/protocols/cip.md, 2 and 5.2
"""

import asyncio
import logging
import math
import socket
import ssl
from types import TracebackType
from typing import Self

from busbar.codecs import cip
from cip_bridge.processor_role.panel_connection import PanelConnection
from cip_bridge.processor_role.program import Program

log = logging.getLogger("busbar.cip")

PANELS_LIMIT = 100
REPORT_PERIOD = 60.0  # s between log lines about panels that are turned away


class PanelListener:
    """All panels of one port; entered = they may connect, left = all are gone."""

    def __init__(
        self, host: str, port: int, program: Program, tls: ssl.SSLContext | None = None
    ) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self.accepted = 0  # connections since the start
        self.program = program
        self._tasks = asyncio.TaskGroup()
        self._connections: dict[asyncio.Task[None], PanelConnection] = {}
        self._server: asyncio.Server | None = None
        self._reported_at = -math.inf  # loop time of the last such line

    @property
    def connections(self) -> list[PanelConnection]:
        """The open connections, signed on or not."""
        return list(self._connections.values())

    async def listen(self) -> None:
        """Accept connections; raise OSError."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, self.host, self.port, ssl=self.tls
            )
            self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Accept no more connections; those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def end_program(self) -> None:
        """Tell all panels that the program stops, as before it is loaded again."""
        for connection in self.connections:
            connection.send(cip.encode(cip.Disconnect()))

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
        for task in self._connections:
            task.cancel()
        # an error of the caller stays what it is, not a group
        await self._tasks.__aexit__(None, None, None)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.accepted += 1
        if self._server is None or len(self._connections) >= PANELS_LIMIT:
            self._turn_away(writer)
            return
        sock = writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = PanelConnection(self.program, reader, writer)
        name = f"panel {connection.address}"
        task = self._tasks.create_task(_run(connection), name=name)
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)

    def _turn_away(self, writer: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time()
        if self._server is not None and now > self._reported_at + REPORT_PERIOD:
            self._reported_at = now
            log.warning(
                "port %d: there are %d panels, more are turned away",
                self.port,
                PANELS_LIMIT,
            )
        writer.transport.abort()


async def _run(connection: PanelConnection) -> None:
    try:
        await connection.run()
    except Exception:  # of ours: it costs this panel only
        log.exception("panel %s: dropped", connection.address)
