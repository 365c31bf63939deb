"""Devices through hidapi, in a child process for each: Windows, macOS, and on request.

Source: docs/protocols/hid.md, 8.
"""

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import msgspec

from busbar.bridge.errors import BusbarError, DeviceRefused, LinkLost, ProtocolError
from hid_bridge.address import HidNode
from hid_bridge.backends.channel import HidChannel, OnLost, OnReport

PROGRAM = (sys.executable, "-m", "hid_bridge.backends.hidapi_child")
START = 10.0  # s for a child to start and list the devices
POLL = 2.0  # s between looks for a device: hidapi does not say when one comes
MESSAGE_LIMIT = 4 * 1024 * 1024  # bytes; a list of devices is the longest


class HidapiBackend:
    """The devices that hidapi lists."""

    def __init__(self, program: Sequence[str] = PROGRAM) -> None:
        self._program = program

    async def nodes(self) -> Sequence[HidNode]:
        child = await HidapiChild.start(self._program)
        try:
            return merged(await child.ask(START, "enumerate"))
        finally:
            await child.end()

    async def open(
        self, node: HidNode, on_report: OnReport, on_lost: OnLost, timeout: float
    ) -> HidChannel:
        child = await HidapiChild.start(self._program)
        try:
            descriptor = await child.ask(timeout, "open", node.path.encode())
            child.on_report, child.on_lost = on_report, on_lost
            await child.ask(timeout, "listen")
        except DeviceRefused as error:
            await child.end()
            raise LinkLost(
                f"{node.path}: hidapi says {error.message!r}: it is missing, in use "
                "or forbidden"
            ) from error
        except BaseException:
            await child.end()
            raise
        return HidapiChannel(replace(node, descriptor=descriptor), child, timeout)

    async def until_changed(self, limit: float) -> None:
        await asyncio.sleep(min(limit, POLL))


def merged(listed: Sequence[dict[str, Any]]) -> list[HidNode]:
    """Return each device once: hidapi lists every collection of it."""
    found: dict[str, HidNode] = {}
    for each in listed:
        path = each.get("path") or b""
        text = path.decode(errors="replace") if isinstance(path, bytes) else str(path)
        page = int(each.get("usage_page") or 0)
        if text in found:
            pages = dict.fromkeys((*found[text].pages, page))
            found[text] = replace(found[text], pages=tuple(pages))
        else:
            found[text] = _node(each, text, page)
    return list(found.values())


def _node(each: dict[str, Any], path: str, page: int) -> HidNode:
    interface = each.get("interface_number", -1)
    return HidNode(
        path=path,
        vendor=int(each.get("vendor_id") or 0),
        product=int(each.get("product_id") or 0),
        bus=int(each.get("bus_type") or 0),
        name=each.get("product_string") or "",
        manufacturer=each.get("manufacturer_string") or None,
        serial=each.get("serial_number") or "",
        interface=interface if isinstance(interface, int) and interface >= 0 else None,
        pages=(page,),
    )


class HidapiChild:
    """One child process and what it is asked."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self.on_report: OnReport = lambda report, time: None
        self.on_lost: OnLost = lambda error: None
        self._reading = asyncio.create_task(self._read(), name="hidapi")

    @classmethod
    async def start(cls, program: Sequence[str]) -> "HidapiChild":
        """Start a child."""
        process = await asyncio.create_subprocess_exec(
            *program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(process)

    async def ask(self, limit: float, operation: str, *arguments: Any) -> Any:
        """Return what the child answers.

        Raise DeviceRefused with what hidapi says, LinkLost if nothing comes in time:
        the child is killed then.
        """
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            async with asyncio.timeout(limit):
                await self._send([number, operation, *arguments])
                return await answer
        except TimeoutError:
            self._kill()
            raise LinkLost(
                f"hidapi did not come back within {limit:g} s ({operation}); its "
                "process was ended"
            ) from None
        finally:
            self._asked.pop(number, None)

    async def end(self) -> None:
        """End the child, whatever it does."""
        self._kill()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._process.wait()

    async def _send(self, message: list[Any]) -> None:
        assert self._process.stdin is not None
        body = msgspec.msgpack.encode(message)
        self._process.stdin.write(len(body).to_bytes(4, "little") + body)
        with contextlib.suppress(ConnectionError):  # the reader says so
            await self._process.stdin.drain()

    def _kill(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _read(self) -> None:
        error: BusbarError = LinkLost("the process of hidapi has ended")
        try:
            while True:
                self._take(await self._message())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except (msgspec.DecodeError, ProtocolError) as wrong:
            error = LinkLost(f"the process of hidapi sends nonsense: {wrong}")
        for each in self._asked.values():
            if not each.done():
                each.set_exception(error)
        self.on_lost(error)

    async def _message(self) -> Any:
        assert self._process.stdout is not None
        head = await self._process.stdout.readexactly(4)
        length = int.from_bytes(head, "little")
        if length > MESSAGE_LIMIT:
            raise ProtocolError(f"a message of {length} bytes")
        return msgspec.msgpack.decode(await self._process.stdout.readexactly(length))

    def _take(self, message: Any) -> None:
        number, good, what = message
        if number == -1 and good:
            self.on_report(what, time.time())
        elif number == -1:
            self.on_lost(LinkLost(f"the device has gone: {what}"))
        else:
            self._settle(number, good, what)

    def _settle(self, number: int, good: bool, what: Any) -> None:
        answer = self._asked.get(number)
        if answer is None or answer.done():
            return
        if good:
            answer.set_result(what)
        else:
            answer.set_exception(DeviceRefused(str(what)))


class HidapiChannel:
    """One device that a child has open."""

    def __init__(self, node: HidNode, child: HidapiChild, timeout: float) -> None:
        self.node = node
        self._child = child
        self._timeout = timeout

    async def write(self, report: bytes) -> None:
        await self._child.ask(self._timeout, "write", report)

    async def send_feature(self, report: bytes) -> None:
        await self._child.ask(self._timeout, "send_feature", report)

    async def get_report(
        self, kind: Literal["input", "feature"], number: int, size: int
    ) -> bytes:
        data: bytes = await self._child.ask(
            self._timeout, f"get_{kind}", number, 1 + size
        )
        return data

    async def close(self) -> None:
        await self._child.end()
