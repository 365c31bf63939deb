"""Commands of GCT, with the time-outs of comsrv's Python client.

Source: docs/protocols/gct.md, 6.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest, DeviceTimeout, Turn, command
from busbar.codecs import gct
from can_bridge.gct_nodes import GctNodes, decode
from can_bridge.settings import Node

SYSCTRL_TIMEOUT = 0.5  # s
READINGS_TIMEOUT = 0.1
DDP_TIMEOUT = 0.1
Destination = Annotated[int, Meta(ge=0, le=gct.BROADCAST)]
Short = Annotated[float, Meta(gt=0, le=60)]  # s
Group = Annotated[int, Meta(ge=0, le=31)]
Index = Annotated[int, Meta(ge=0, le=63)]
Bytes8 = Annotated[bytes, Meta(max_length=8)]
Code = Annotated[int, Meta(ge=0, le=255)]


class SysCtrl(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `gct_sysctrl`; `dst` None = the device's node, or all.

    A query waits for the value.
    """

    command: Annotated[int, Meta(ge=0, le=511)]
    data: Bytes8 = b""
    query: bool = True
    value: bool = False
    dst: Destination | None = None
    timeout: Short = SYSCTRL_TIMEOUT


class SysCtrlValue(msgspec.Struct, frozen=True):
    """Result of `gct_sysctrl`: who answered, and what."""

    src: int
    data: bytes


class Readings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `gct_fetch_readings`."""

    indices: Annotated[list[Index], Meta(min_length=1, max_length=64)]
    group: Group = 0
    dst: Destination | None = None
    timeout: Short = READINGS_TIMEOUT


class ReadingData(msgspec.Struct, frozen=True):
    """One reading."""

    index: int
    src: int
    data: bytes


class Single(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `gct_read_single`; `format` as of Python's struct, such as <f."""

    index: Index
    group: Group = 0
    format: Annotated[str, Meta(max_length=20)] | None = None
    dst: Destination | None = None
    timeout: Short = READINGS_TIMEOUT

    def __post_init__(self) -> None:
        try:
            struct.calcsize(self.format or "")
        except struct.error as error:
            raise ValueError(f"format: {self.format!r}: {error}") from error


class SingleData(msgspec.Struct, frozen=True):
    """Result of `gct_read_single`; `values` where a format was given."""

    src: int
    data: bytes
    values: list[Any] | None = None


class Ddp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `gct_ddp`: bit 7 of the first byte asks for a response."""

    data: Annotated[bytes, Meta(min_length=1, max_length=gct.V2_BYTES)]
    dst: Node | None = None
    version: Annotated[int, Meta(ge=1, le=2)] | None = None  # None: as configured
    timeout: Short = DDP_TIMEOUT


class DdpCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `gct_ddp_request` and `gct_ddp_write`.

    The bridge sets or clears bit 7 of `command`.
    """

    command: Code
    data: Annotated[bytes, Meta(max_length=gct.V2_BYTES - 1)] = b""
    dst: Node | None = None
    version: Annotated[int, Meta(ge=1, le=2)] | None = None
    timeout: Short = DDP_TIMEOUT


class DdpAnswer(msgspec.Struct, frozen=True):
    """Result of `gct_ddp` and `gct_ddp_request`."""

    data: bytes


class AnyMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `gct_send`: a message as `event/gct` shows it."""

    message: gct.Message


class GctCommands:
    """Commands to nodes; of a node's device, `dst` is that node."""

    def __init__(self, nodes: GctNodes) -> None:
        self._nodes = nodes
        self._busy: dict[int, asyncio.Lock] = {}  # by node; at most 128
        # loop time until which a late response of a node may come
        self._quiet: dict[int, float] = {}

    @command(holds="exchange", timeout=62.0)
    async def gct_sysctrl(
        self, device: str, arguments: SysCtrl, turn: Turn
    ) -> SysCtrlValue | None:
        """Send a SysCtrl; a query returns the value that answers it."""
        dst = self._destination(device, arguments.dst)
        message = gct.SysCtrl(
            self._nodes.address,
            dst,
            arguments.command,
            arguments.value,
            arguments.query and not arguments.value,
            arguments.data,
        )

        def wanted(came: gct.Message) -> bool:
            return isinstance(came, gct.SysCtrl) and _answers(came, message)

        with self._nodes.messages.listen(wanted) as listener:
            await self._nodes.send(message)
            if not message.query:
                return None
            turn.release()
            seconds = turn.asked or arguments.timeout
            async with _limit(seconds, f"no answer from {_whom(dst)}"):
                came = await listener.get()
        assert isinstance(came, gct.SysCtrl)
        return SysCtrlValue(came.src, came.data)

    @command(holds="exchange", timeout=62.0)
    async def gct_fetch_readings(
        self, device: str, arguments: Readings, turn: Turn
    ) -> list[ReadingData]:
        """Ask for readings of a group and return them in order once all are there."""
        dst = self._destination(device, arguments.dst)
        return await self._readings(
            dst, arguments.group, arguments.indices, turn, arguments.timeout
        )

    @command(holds="exchange", timeout=62.0)
    async def gct_read_single(
        self, device: str, arguments: Single, turn: Turn
    ) -> SingleData:
        """Ask for one reading; with a format, decode it."""
        dst = self._destination(device, arguments.dst)
        (found,) = await self._readings(
            dst, arguments.group, [arguments.index], turn, arguments.timeout
        )
        if arguments.format is None:
            return SingleData(found.src, found.data)
        values = decode(arguments.format, found.data)
        return SingleData(found.src, found.data, list(values))

    @command(
        title=(
            "Send a DDP message; if bit 7 of its first byte is set, return the response"
        ),
        holds="exchange",
        timeout=62.0,
    )
    async def gct_ddp(
        self, device: str, arguments: Ddp, turn: Turn
    ) -> DdpAnswer | None:
        """Send a DDP message; return its response if it asks for one."""
        dst = self._node(device, arguments.dst)
        return await self._ddp(
            dst, arguments.data, arguments.version, turn, arguments.timeout
        )

    @command(holds="exchange", timeout=62.0)
    async def gct_ddp_request(
        self, device: str, arguments: DdpCommand, turn: Turn
    ) -> DdpAnswer | None:
        """Send a DDP command and return the response."""
        data = bytes((arguments.command | 0x80,)) + arguments.data
        dst = self._node(device, arguments.dst)
        return await self._ddp(dst, data, arguments.version, turn, arguments.timeout)

    @command(holds="exchange")
    async def gct_ddp_write(
        self, device: str, arguments: DdpCommand, turn: Turn
    ) -> None:
        """Send a DDP command that has no response."""
        data = bytes((arguments.command & 0x7F,)) + arguments.data
        dst = self._node(device, arguments.dst)
        await self._ddp(dst, data, arguments.version, turn, arguments.timeout)

    @command(holds="exchange")
    async def gct_send(self, device: str, arguments: AnyMessage, turn: Turn) -> None:
        """Send any GCT message, in our name or another's."""
        await self._nodes.send(arguments.message)

    def _destination(self, device: str, asked: int | None) -> int:
        if asked is not None:
            return asked
        own = self._nodes.node_of(device)
        return gct.BROADCAST if own is None else own

    def _node(self, device: str, asked: int | None) -> int:
        dst = self._destination(device, asked)
        if dst == gct.BROADCAST:
            raise BadRequest("dst: which node? DDP is not for all")
        return dst

    async def _readings(
        self, dst: int, group: int, indices: list[int], turn: Turn, timeout: float
    ) -> list[ReadingData]:
        missing = set(indices)
        found: dict[int, ReadingData] = {}
        source = self._nodes.address
        message = gct.MonitoringRequest(source, dst, group, tuple(sorted(missing)))

        def wanted(came: gct.Message) -> bool:
            if not isinstance(came, gct.MonitoringData) or came.group != group:
                return False
            return came.reading in missing and dst in (gct.BROADCAST, came.src)

        with self._nodes.messages.listen(wanted) as listener:
            await self._nodes.send(message)
            turn.release()
            seconds = turn.asked or timeout
            what = f"not all readings came from {_whom(dst)}"
            async with _limit(seconds, what, missing=missing):
                while missing:
                    came = await listener.get()
                    assert isinstance(came, gct.MonitoringData)
                    found[came.reading] = ReadingData(came.reading, came.src, came.data)
                    missing.discard(came.reading)
        return [found[index] for index in sorted(found)]

    async def _ddp(
        self, dst: int, data: bytes, version: int | None, turn: Turn, timeout: float
    ) -> DdpAnswer | None:
        source = self._nodes.address
        version = version or self._nodes.settings.ddp_version
        message = gct.Ddp(source, dst, data, version)

        def wanted(came: gct.Message) -> bool:
            if not isinstance(came, gct.Ddp):
                return False
            return came.src == dst and came.dst == source

        if not data[0] & 0x80:
            await self._nodes.send(message)
            return None
        turn.release()
        loop = asyncio.get_running_loop()
        seconds = turn.asked or timeout
        # a response does not say what it answers: one request at a time to a node
        async with self._busy.setdefault(dst, asyncio.Lock()):
            await asyncio.sleep(self._quiet.get(dst, 0.0) - loop.time())
            with self._nodes.messages.listen(wanted) as listener:
                self._quiet[dst] = loop.time() + 2 * seconds
                await self._nodes.send(message)
                async with _limit(seconds, f"no response from {_whom(dst)}"):
                    came = await listener.get()
                del self._quiet[dst]
        assert isinstance(came, gct.Ddp)
        return DdpAnswer(came.data)


@contextlib.asynccontextmanager
async def _limit(
    seconds: float, what: str, missing: set[int] | None = None
) -> AsyncIterator[None]:
    """Limit a wait; raise DeviceTimeout with what is still missing."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        text = f"{what} within {seconds:g} s"
        if missing is None:
            raise DeviceTimeout(text) from error
        indices = sorted(missing)
        listed = ", ".join(map(str, indices))
        raise DeviceTimeout(f"{text}; missing: {listed}", missing=indices) from error


def _answers(came: gct.SysCtrl, query: gct.SysCtrl) -> bool:
    """True for a value of what was asked, from and to the right nodes."""
    if not came.value or came.command != query.command:
        return False
    if query.dst not in (gct.BROADCAST, came.src):
        return False
    return came.dst in (gct.BROADCAST, query.src)


def _whom(dst: int) -> str:
    return "any node" if dst == gct.BROADCAST else f"node {dst}"
