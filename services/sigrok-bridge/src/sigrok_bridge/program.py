"""The program sigrok-cli: one run after the other, each with limits.

Source: docs/protocols/instruments.md, 11.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from busbar.bridge import DeviceRefused, LinkLost, ProtocolError
from busbar.codecs.sigrok import ProgressLog

CHUNK = 64 * 1024  # bytes
OUTPUT = 4 * 1024 * 1024  # bytes of text that a run may write
LOOK = 0.1  # s between looks at the size of a file that grows
KILL = 5.0  # s for a killed program to be gone
LOST = ("No devices found.",)
MISSING = "{} is not there; Debian has it: apt install sigrok-cli"
Ended = Literal["itself", "time", "size"]


@dataclass(frozen=True)
class Ran:
    """One run of the program."""

    code: int | None  # None: it was killed, see `ended`
    output: bytes
    log: ProgressLog
    ended: Ended = "itself"

    @property
    def text(self) -> str:
        return self.output.decode(errors="replace")

    def check(self) -> None:
        """Raise what it complained of."""
        said = "; ".join(self.log.messages)
        if self.ended != "itself":
            raise ProtocolError(f"sigrok-cli had to be ended ({self.ended}): {said}")
        if self.code is None or self.code == 0:
            return
        if any(each in LOST for each in self.log.messages):
            raise LinkLost(f"sigrok-cli finds no such device: {said}")
        if self.code < 0:
            raise ProtocolError(f"sigrok-cli crashed ({_signal(-self.code)}): {said}")
        text = said or f"sigrok-cli ended with {self.code}"
        raise DeviceRefused(text, code=self.code)


def _signal(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


class SigrokCli:
    """Runs the program; it is never asked to scan without a driver."""

    def __init__(self, program: str) -> None:
        self._program = program

    async def run(
        self,
        arguments: Sequence[str],
        limit: float,
        *,
        grows: tuple[Path, int] | None = None,
        take: Callable[[bytes], None] | None = None,
    ) -> Ran:
        """Run it for `limit` s at most; raise LinkLost where it is not installed.

        `grows` is a file that it writes, and the bytes that it may have; `take` gets
        the output instead of the result.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            raise LinkLost(MISSING.format(self._program)) from error
        try:
            return await _Run(process, grows, take).wait(limit)
        finally:
            await _end(process)


class _Run:
    """One process, read until it ends or is at a limit."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        grows: tuple[Path, int] | None,
        take: Callable[[bytes], None] | None,
    ) -> None:
        self._process = process
        self._grows = grows
        self._take = take
        self._output = bytearray()
        self._log = ProgressLog()
        self._full = asyncio.Event()

    async def wait(self, limit: float) -> Ran:
        """Return when it has ended; the first limit that it reaches ends it."""
        reading = asyncio.create_task(self._read(), name="output of sigrok-cli")
        full = asyncio.create_task(self._watch(), name="size of a capture")
        try:
            await asyncio.wait(
                (reading, full), timeout=limit, return_when=asyncio.FIRST_COMPLETED
            )
            ended: Ended = "time"
            if reading.done():
                ended = "itself"
            elif full.done():
                ended = "size"
            await _end(self._process)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(reading), KILL)
        finally:
            for task in (reading, full):
                task.cancel()
            await asyncio.gather(reading, full, return_exceptions=True)
        self._log.close()
        code = self._process.returncode if ended == "itself" else None
        return Ran(code, bytes(self._output), self._log, ended)

    async def _read(self) -> None:
        await asyncio.gather(self._read_output(), self._read_log())
        await self._process.wait()

    async def _read_output(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while data := await stream.read(CHUNK):
            if self._take is not None:
                self._take(data)
                continue
            self._output += data[: OUTPUT - len(self._output)]
            if len(self._output) >= OUTPUT:
                self._full.set()

    async def _read_log(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        while data := await stream.read(CHUNK):
            self._log.feed(data)

    async def _watch(self) -> None:
        """Return when it has written too much."""
        while not self._full.is_set() and not self._is_too_large():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), LOOK)

    def _is_too_large(self) -> bool:
        if self._grows is None:
            return False
        path, limit = self._grows
        try:
            return path.stat().st_size > limit
        except OSError:  # not there yet
            return False


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill it, and what it has started, unless it has ended."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), KILL)
