"""Commands of GCT.

Time-outs are those of comsrv's Python client. Source: reference 1.8.
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
from can_bridge.gct_nodes import Nodes, decode
from can_bridge.settings import Node

SYSCTRL_TIMEOUT, READINGS_TIMEOUT, DDP_TIMEOUT = 0.5, 0.1, 0.1  # s
Destination = Annotated[int, Meta(ge=0, le=gct.BROADCAST)]
Short = Annotated[float, Meta(gt=0, le=60)]  # s
Group = Annotated[int, Meta(ge=0, le=31)]
Index = Annotated[int, Meta(ge=0, le=63)]
Bytes8 = Annotated[bytes, Meta(max_length=8)]
Code = Annotated[int, Meta(ge=0, le=255)]


class SysCtrl(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `gct_sysctrl`; `dst` None = the node that is called, or all.

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
    """Arguments of `gct_read_single`; `format` is one of Python's struct, such as <f."""

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
    """What can be asked of nodes; called for a node's device, `dst` is that node."""

    nodes: Nodes

    def __init__(self) -> None:
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
            self.nodes.address,
            dst,
            arguments.command,
            arguments.value,
            arguments.query and not arguments.value,
            arguments.data,
        )

        def wanted(came: gct.Message) -> bool:
            if (
                not isinstance(came, gct.SysCtrl)
                or not came.value
                or came.command != message.command
            ):
                return False
            return dst in (gct.BROADCAST, came.src) and came.dst in (
                gct.BROADCAST,
                message.src,
            )

        with self.nodes.messages.listen(wanted) as listener:
            await self.nodes.send(message)
            if not message.query:
                return None
            turn.release()
            async with _limit(
                turn.asked or arguments.timeout, f"no answer from {_whom(dst)}"
            ):
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
        values = (
            None
            if arguments.format is None
            else list(decode(arguments.format, found.data))
        )
        return SingleData(found.src, found.data, values)

    @command(holds="exchange", timeout=62.0)
    async def gct_ddp(
        self, device: str, arguments: Ddp, turn: Turn
    ) -> DdpAnswer | None:
        """Send a DDP message; if bit 7 of its first byte is set, return the response."""
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
        await self._ddp(
            self._node(device, arguments.dst),
            data,
            arguments.version,
            turn,
            arguments.timeout,
        )

    @command(holds="exchange")
    async def gct_send(self, device: str, arguments: AnyMessage, turn: Turn) -> None:
        """Send any GCT message, in our name or another's."""
        await self.nodes.send(arguments.message)

    def _destination(self, device: str, asked: int | None) -> int:
        own = self.nodes.node_of(device)
        return next((each for each in (asked, own) if each is not None), gct.BROADCAST)

    def _node(self, device: str, asked: int | None) -> int:
        dst = self._destination(device, asked)
        if dst == gct.BROADCAST:
            raise BadRequest("dst: which node? DDP is not for all")
        return dst

    async def _readings(
        self, dst: int, group: int, indices: list[int], turn: Turn, timeout: float
    ) -> list[ReadingData]:
        missing, found = set(indices), {}

        def wanted(came: gct.Message) -> bool:
            asked = (
                isinstance(came, gct.MonitoringData)
                and came.group == group
                and came.reading in missing
            )
            return asked and dst in (gct.BROADCAST, came.src)

        with self.nodes.messages.listen(wanted) as listener:
            await self.nodes.send(
                gct.MonitoringRequest(
                    self.nodes.address, dst, group, tuple(sorted(missing))
                )
            )
            turn.release()
            async with _limit(
                turn.asked or timeout,
                (f"not all readings came from {_whom(dst)}"),
                missing=missing,
            ):
                while missing:
                    came = await listener.get()
                    assert isinstance(came, gct.MonitoringData)
                    found[came.reading] = ReadingData(came.reading, came.src, came.data)
                    missing.discard(came.reading)
        return [found[index] for index in sorted(found)]

    async def _ddp(
        self, dst: int, data: bytes, version: int | None, turn: Turn, timeout: float
    ) -> DdpAnswer | None:
        source = self.nodes.address
        message = gct.Ddp(source, dst, data, version or self.nodes.settings.ddp_version)

        def wanted(came: gct.Message) -> bool:
            return isinstance(came, gct.Ddp) and (came.src, came.dst) == (dst, source)

        if not data[0] & 0x80:
            await self.nodes.send(message)
            return None
        turn.release()
        loop, seconds = asyncio.get_running_loop(), turn.asked or timeout
        # a response does not say what it answers
        async with self._busy.setdefault(dst, asyncio.Lock()):
            await asyncio.sleep(self._quiet.get(dst, 0.0) - loop.time())
            with self.nodes.messages.listen(wanted) as listener:
                self._quiet[dst] = loop.time() + 2 * seconds
                await self.nodes.send(message)
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
        listed = sorted(missing)
        raise DeviceTimeout(
            (f"{text}; missing: {', '.join(map(str, listed))}"), missing=listed
        ) from error


def _whom(dst: int) -> str:
    return "any node" if dst == gct.BROADCAST else f"node {dst}"
