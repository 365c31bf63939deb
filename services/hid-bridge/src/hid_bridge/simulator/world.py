"""Simulated devices: a folder like / with their entries in /sys and their nodes.

A node is a socket: reports go over it one by one, as the kernel's hidraw and evdev hand
them out; a second socket beside it takes what would be an ioctl.
"""

import asyncio
import contextlib
import errno
import shutil
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from hid_bridge.backends.nodes import socket_address

_HEAD = struct.Struct("=iI")  # errno or 0, and the request
LARGEST = 70_000  # bytes of a message
KEPT = 1000  # of what was received, for tests to look at
_FEATURE_SENT, _FEATURE_ASKED = 0x06, 0x07
_INPUT_ASKED = 0x0A
_GRAB = 0x90

Serve = Callable[[socket.socket], Coroutine[Any, Any, None]]


class SimulatedHid:
    """One device; the attributes are its state, its faults and what it saw."""

    node = "hidraw"

    def __init__(
        self,
        descriptor: bytes = b"",
        *,
        vendor: int = 0x1209,
        product: int = 0x0001,
        name: str = "Simulated",
        serial: str = "",
        port: str = "1-1",
        interface: int = 0,
    ) -> None:
        self.descriptor = descriptor
        self.vendor = vendor
        self.product = product
        self.name = name
        self.serial = serial
        self.port = port
        self.interface = interface
        self.features: dict[int, bytearray] = {}  # by number, without it
        self.inputs: dict[int, bytes] = {}
        self.written: deque[bytes] = deque(maxlen=KEPT)
        self.sent: deque[bytes] = deque(maxlen=KEPT)  # feature reports
        self.asked = 0  # feature reports that were asked for
        self.slow = 0.0  # s of each request
        self.slow_inputs = 0  # input reports that were asked for while it was slow
        self.error = 0  # of each request, if not 0
        self.frozen: set[int] = set()  # features that take nothing
        self.grabbed = False
        self.dropped = 0  # input reports that nobody read in time
        self._connections: set[socket.socket] = set()
        self._requests: set[socket.socket] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._files: list[Path] = []

    @property
    def address(self) -> str:
        return f"hid::{self.vendor:04x}:{self.product:04x}"

    @property
    def gone(self) -> bool:
        """Whether nothing of it is left after `unplug`."""
        return not self._tasks

    @property
    def open(self) -> bool:
        """Whether somebody has it open."""
        return bool(self._connections)

    def send(self, report: bytes) -> None:
        """Send an input report to whoever has it open."""
        for each in list(self._connections):
            try:
                each.send(report)
            except BlockingIOError:
                self.dropped += 1
            except OSError:
                self._connections.discard(each)

    def plug(self, root: Path, number: int) -> None:
        """Let it appear: first in /sys, then its node."""
        self._describe(root, number)
        node = self._folder(root) / f"{self.node}{number}"
        node.parent.mkdir(parents=True, exist_ok=True)
        requests = node.with_name(f".{node.name}.ioctl")
        self._listen(requests, self._requests, self._serve_requests)
        self._listen(node, self._connections, self._serve_reports)

    def unplug(self) -> None:
        """Let it go, with all that is open."""
        for task in self._tasks:  # each closes its socket when nothing watches it
            task.cancel()
        self.grabbed = False
        self._connections.clear()
        self._requests.clear()
        for file in self._files:
            if file.is_dir():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink(missing_ok=True)
        self._files.clear()

    def _folder(self, root: Path) -> Path:
        return root / "dev"

    def _describe(self, root: Path, number: int) -> None:
        place = f"{self.port}/{self.port}:1.{self.interface}"
        device = root / f"sys/devices/usb/{place}/{number}"
        device.mkdir(parents=True)
        (device / "report_descriptor").write_bytes(self.descriptor)
        (device / "uevent").write_text(
            f"HID_ID=0003:{self.vendor:08X}:{self.product:08X}\n"
            f"HID_NAME={self.name}\nHID_PHYS=usb-sim-{self.port}/input"
            f"{self.interface}\nHID_UNIQ={self.serial}\n"
        )
        self._link(root / f"sys/class/hidraw/hidraw{number}", device)

    def _link(self, entry: Path, device: Path) -> None:
        entry.mkdir(parents=True)
        (entry / "device").symlink_to(device)
        self._files += [entry, device]

    def _listen(self, path: Path, kept: set[socket.socket], serve: Serve) -> None:
        """Make a socket that appears when it listens already."""
        server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        hidden = path.with_name(f"{path.name}.new")
        with socket_address(hidden) as address:
            server.bind(address)
        server.listen(8)
        server.setblocking(False)
        hidden.rename(path)
        self._files.append(path)
        self._start(self._accept(server, kept, serve), server)

    def _start(self, work: Coroutine[Any, Any, None], made: socket.socket) -> None:
        task = asyncio.create_task(work, name="simulated device")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: made.close())

    async def _accept(
        self, server: socket.socket, kept: set[socket.socket], serve: Serve
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            made, _ = await loop.sock_accept(server)
            kept.add(made)
            self._start(serve(made), made)

    async def _serve_reports(self, made: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(made, LARGEST):
                self.written.append(data)
                self.on_written(data)
        self._connections.discard(made)
        self.grabbed = False

    async def _serve_requests(self, made: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while message := await loop.sock_recv(made, LARGEST):
                _, request = _HEAD.unpack_from(message)
                slow = self.slow
                if slow:
                    self.slow_inputs += request & 0xFF == _INPUT_ASKED
                    await asyncio.sleep(slow)
                number, data = self._answer(request & 0xFF, message[_HEAD.size :])
                await loop.sock_sendall(made, _HEAD.pack(number, request) + data)
        self._requests.discard(made)

    def on_written(self, data: bytes) -> None:
        """React to an output report."""

    def on_feature(self, data: bytes) -> int:
        """React to a feature report that was sent; return an errno or 0."""
        if data[0] not in self.frozen:
            self.features[data[0]] = bytearray(data[1:])
        return 0

    def _answer(self, request: int, data: bytes) -> tuple[int, bytes]:
        if self.error:
            return self.error, b""
        if request == _FEATURE_SENT:
            self.sent.append(data)
            return self.on_feature(data), data
        if request == _GRAB:
            if self.grabbed:
                return errno.EBUSY, b""
            self.grabbed = True
            return 0, data
        known = self.features
        if request == _FEATURE_ASKED:
            self.asked += 1
        elif request == _INPUT_ASKED:
            known = {key: bytearray(each) for key, each in self.inputs.items()}
        if data[0] not in known:
            return errno.EPIPE, b""
        return 0, (data[:1] + known[data[0]])[: len(data)]


class SimulatedKeyboard(SimulatedHid):
    """A device that types."""

    node = "event"

    def _folder(self, root: Path) -> Path:
        return root / "dev/input"

    def type(self, *codes: int) -> None:
        """Press and release keys; -code: only press it, 1000 + code: only release."""
        for code in codes:
            if code < 0:
                self.event(1, -code, 1)
            elif code >= 1000:
                self.event(1, code - 1000, 0)
            else:
                self.event(1, code, 1)
                self.event(1, code, 0)

    def event(self, kind: int, code: int, value: int) -> None:
        """Send one event."""
        self.send(struct.pack("@llHHi", 0, 0, kind, code, value))

    def _describe(self, root: Path, number: int) -> None:
        place = f"{self.port}/{self.port}:1.{self.interface}"
        device = root / f"sys/devices/usb/{place}/input{number}"
        for part in ("id", "capabilities"):
            (device / part).mkdir(parents=True)
        texts = {
            "id/vendor": f"{self.vendor:04x}",
            "id/product": f"{self.product:04x}",
            "id/bustype": "0003",
            "name": self.name,
            "uniq": self.serial,
            "phys": f"usb-sim-{self.port}/input{self.interface}",
            "capabilities/key": "1000000000007 ff9f207ac14057ff febeffdfffefffff "
            "fffffffffffffffe",
        }
        for file, text in texts.items():
            (device / file).write_text(f"{text}\n")
        self._link(root / f"sys/class/input/event{number}", device)
