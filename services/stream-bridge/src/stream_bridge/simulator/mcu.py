"""A microcontroller that speaks lines, and is as unkind as one: late, silent, torn."""

import asyncio
import contextlib

HOST = "127.0.0.1"


class Mcu:
    """`volts=5.0` when something changes, `SET volts 5` to change it.

    Any other line is answered by itself in capitals; the attributes are faults.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.values: dict[str, float] = {"volts": 0.0, "output": 0, "reading": 1.5}
        self.lines: list[str] = []
        self.slow = 0.0  # s before each answer
        self.silent = False
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self) -> None:
        """Listen, always on the same port."""
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Break all connections and refuse new ones."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def change(self, name: str, value: float) -> None:
        """Change a value by itself, and say so."""
        self.values[name] = value
        self.say(f"{name}={float(value):g}")

    def say(self, line: str) -> None:
        """Send a line to all."""
        for writer in self._writers:
            writer.write(f"{line}\r\n".encode())

    async def tick(self) -> None:
        """Let the reading go, twice a second."""
        while True:
            await asyncio.sleep(0.5)
            self.change("reading", round((self.values["reading"] + 0.1) % 10, 3))

    async def __aenter__(self) -> "Mcu":
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        self._writers.add(writer)
        for name, value in self.values.items():
            writer.write(f"{name}={float(value):g}\r\n".encode())
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                await self._answer(line.decode(errors="replace").strip(), writer)
        self._writers.discard(writer)
        writer.transport.abort()
        if task is not None:
            self._tasks.discard(task)

    async def _answer(self, line: str, writer: asyncio.StreamWriter) -> None:
        self.lines.append(line)
        if self.slow:
            await asyncio.sleep(self.slow)
        words = line.split()
        if len(words) == 3 and words[0] == "SET" and words[1] in self.values:
            self.change(words[1], float(words[2]))
        elif not self.silent and not line.startswith("MARK"):
            writer.write(f"{line.upper()}\r\n".encode())
