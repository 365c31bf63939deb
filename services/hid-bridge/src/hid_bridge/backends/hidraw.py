"""Devices through the kernel's hidraw: reports on the loop, ioctls in a thread.

Source: docs/protocols/hid.md, 6.
"""

import asyncio
import errno
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from busbar.bridge.errors import BusbarError, DeviceRefused, DeviceTimeout, LinkLost
from busbar.codecs.hid import DESCRIPTOR_LIMIT, REPORT_LIMIT
from hid_bridge.address import HidNode
from hid_bridge.backends import inotify, nodes, sysfs
from hid_bridge.backends.calls import Calls
from hid_bridge.backends.channel import HidChannel, NotAllowed, OnLost, OnReport
from hid_bridge.backends.nodes import NodeFile

log = logging.getLogger("busbar.hid")

RIGHTS_WAIT = 2.0  # s after a node has appeared in which udev sets its rights
BATCH = 64  # reports of one device at a time; the kernel keeps as many
_GONE = (errno.ENODEV, errno.ENXIO, errno.ESHUTDOWN, errno.EBADF)
_SILENT = (errno.ETIMEDOUT, errno.EAGAIN)


class HidrawBackend:
    """The devices of /dev/hidraw*."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    async def nodes(self) -> Sequence[HidNode]:
        return await asyncio.to_thread(sysfs.hidraw_nodes, self._root)

    async def open(
        self, node: HidNode, on_report: OnReport, on_lost: OnLost, timeout: float
    ) -> HidChannel:
        calls = Calls(node.path)
        try:
            file = await opened(node, calls, timeout)
            try:
                node = await _described(node, file, calls, timeout)
            except BaseException:
                file.close()
                raise
        except BaseException:
            calls.end()
            raise
        return HidrawChannel(node, file, calls, on_report, on_lost, timeout)

    async def until_changed(self, limit: float) -> None:
        await inotify.until_changed(self._root / "dev", limit)


async def opened(node: HidNode, calls: Calls, timeout: float) -> NodeFile:
    """Open a node; what is forbidden is tried again while udev may still be at it."""
    path = Path(node.path)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RIGHTS_WAIT
    while True:
        try:
            return await calls.run(timeout, nodes.open_node, path)
        except PermissionError as error:
            if loop.time() >= deadline:
                raise NotAllowed(_missing_rights(node)) from error
        except OSError as error:
            raise LinkLost(f"{path}: {error.strerror}") from error
        await inotify.until_changed(path.parent, 0.1)


def _missing_rights(node: HidNode) -> str:
    what = f'SUBSYSTEM=="hidraw", KERNELS=="*:{node.vendor:04X}:{node.product:04X}.*"'
    if "/input/" in node.path:
        what = (
            f'SUBSYSTEM=="input", ATTRS{{id/vendor}}=="{node.vendor:04x}", '
            f'ATTRS{{id/product}}=="{node.product:04x}"'
        )
    return (
        f"no right to open {node.path}. Put this line into "
        f"/etc/udev/rules.d/70-busbar-hid.rules, run udevadm control --reload and plug "
        f'the device in again: {what}, GROUP="plugdev", MODE="0660"'
    )


async def _described(
    node: HidNode, file: NodeFile, calls: Calls, timeout: float
) -> HidNode:
    """Return the node with its descriptor, where sysfs did not have it."""
    if node.descriptor:
        return node
    try:
        descriptor = await calls.run(timeout, _descriptor, file)
    except OSError as error:
        raise LinkLost(f"{node.path}: no report descriptor: {error}") from error
    return replace(node, descriptor=descriptor)


def _descriptor(file: NodeFile) -> bytes:
    size = bytearray(4)
    file.ioctl(nodes.DESCRIPTOR_SIZE, size)
    data = bytearray(bytes(size) + bytes(DESCRIPTOR_LIMIT))
    file.ioctl(nodes.DESCRIPTOR, data)
    return bytes(data[4 : 4 + int.from_bytes(size, "little")])


class NodeReader:
    """Reads a node whenever there is something; any end is a lost link."""

    def __init__(
        self, file: NodeFile, size: int, on_data: OnReport, on_lost: OnLost
    ) -> None:
        self._file = file
        self._size = size
        self._on_data = on_data
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(file.fd, self._read)
        self._open = True

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._file.fd)

    def _read(self) -> None:
        for _ in range(BATCH):
            try:
                data = os.read(self._file.fd, self._size)
            except BlockingIOError:
                return
            except OSError as error:
                self._end(f"{error.strerror}")
                return
            if not data:
                self._end("the device has gone")
                return
            self._on_data(data, time.time())
            if not self._open:
                return

    def _end(self, why: str) -> None:
        self.close()
        self._on_lost(LinkLost(why))


class HidrawChannel:
    """One open node."""

    def __init__(
        self,
        node: HidNode,
        file: NodeFile,
        calls: Calls,
        on_report: OnReport,
        on_lost: OnLost,
        timeout: float,
    ) -> None:
        self.node = node
        self._file = file
        self._calls = calls
        self._timeout = timeout
        self._reader = NodeReader(file, REPORT_LIMIT + 1, on_report, on_lost)

    async def write(self, report: bytes) -> None:
        written = await self._call(os.write, self._file.fd, report)
        if written < len(report):
            raise DeviceRefused(f"it took {written} of {len(report)} bytes")

    async def send_feature(self, report: bytes) -> None:
        request = nodes.send_feature(len(report))
        await self._call(self._file.ioctl, request, bytearray(report))

    async def get_report(
        self, kind: Literal["input", "feature"], number: int, size: int
    ) -> bytes:
        code = nodes.get_input if kind == "input" else nodes.get_feature
        data = bytearray(1 + size)
        data[0] = number
        length = await self._call(self._file.ioctl, code(1 + size), data)
        return bytes(data[:length])

    async def close(self) -> None:
        self._reader.close()
        # not beside a call: another file could get its number meanwhile
        self._calls.end(self._file.close)

    async def _call(self, function: Callable[..., int], *given: object) -> int:
        try:
            return await self._calls.run(self._timeout, function, *given)
        except OSError as error:
            raise explained(error) from error


def explained(error: OSError) -> BusbarError:
    """Return what an error of the kernel means."""
    number = error.errno or 0
    text = f"{error.strerror} ({errno.errorcode.get(number, number)})"
    if number in _GONE:
        return LinkLost(text)
    if number in _SILENT:
        return DeviceTimeout(f"no answer: {text}")
    return DeviceRefused(f"it refused: {text}", errno=number)
