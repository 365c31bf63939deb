"""Device nodes: opened, read, asked by ioctl.

A socket in the place of a node is a simulator's: reports go over it as the kernel hands
them out, and what would be an ioctl goes over a second one beside it.
"""

import contextlib
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

_HEAD = struct.Struct("=iI")  # errno or 0, and the request, of a simulator
SIMULATED_LIMIT = 70_000  # bytes of its largest message


class NodeFile(Protocol):
    """One open node."""

    fd: int

    def ioctl(self, request: int, data: bytearray) -> int:
        """Carry out a request, which may change the data; raise OSError. It blocks."""

    def close(self) -> None:
        """Close it."""


def open_node(path: Path) -> NodeFile:
    """Open a node for reading and writing; raise OSError. It blocks."""
    if stat.S_ISSOCK(path.stat().st_mode):
        return _SimulatedNode(path)
    return _KernelNode(path)


class _KernelNode:
    def __init__(self, path: Path) -> None:
        # a file object: it is closed even if nobody waits for it any more
        self._file = open(path, "r+b", buffering=0, opener=_opened)  # noqa: SIM115
        self.fd = self._file.fileno()

    def ioctl(self, request: int, data: bytearray) -> int:
        if request == GRAB:
            given: int | bytearray = int.from_bytes(data, "little")
        else:
            given = data
        length: int = fcntl.ioctl(self.fd, request, given)
        return length

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the device has gone
            self._file.close()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it could not be opened
            self.close()


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


class _SimulatedNode:
    def __init__(self, path: Path) -> None:
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(13, "Permission denied", str(path))
        self._reports = _connected(path)
        self._reports.setblocking(False)
        self._requests = _connected(request_path(path))
        self.fd = self._reports.fileno()

    def ioctl(self, request: int, data: bytearray) -> int:
        self._requests.send(_HEAD.pack(0, request) + data)
        answer = self._requests.recv(SIMULATED_LIMIT)
        if not answer:
            raise OSError(19, "No such device")
        number, _ = _HEAD.unpack_from(answer)
        if number:
            raise OSError(number, os.strerror(number))
        data[:] = answer[_HEAD.size :]
        return len(data)

    def close(self) -> None:
        self._reports.close()
        self._requests.close()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it could not be opened
            self.close()


def request_path(path: Path) -> Path:
    """Return where a simulator takes the requests of a node."""
    return path.with_name(f".{path.name}.ioctl")


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Return the address of a socket whose path may be longer than one may be."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _connected(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with socket_address(path) as address:
            made.connect(address)
    except OSError:
        made.close()
        raise
    return made


def _code(direction: int, group: str, number: int, size: int) -> int:
    """Return the number of an ioctl. Source: linux/ioctl.h."""
    return direction << 30 | size << 16 | ord(group) << 8 | number


_WRITE, _READ = 1, 2
GRAB = _code(_WRITE, "E", 0x90, 4)  # EVIOCGRAB


def send_feature(size: int) -> int:
    """Return HIDIOCSFEATURE of a report with its number. Source: linux/hidraw.h."""
    return _code(_WRITE | _READ, "H", 0x06, size)


def get_feature(size: int) -> int:
    """Return HIDIOCGFEATURE of a report with its number."""
    return _code(_WRITE | _READ, "H", 0x07, size)


def get_input(size: int) -> int:
    """Return HIDIOCGINPUT of a report with its number (Linux 5.11)."""
    return _code(_WRITE | _READ, "H", 0x0A, size)


DESCRIPTOR_SIZE = _code(_READ, "H", 0x01, 4)  # HIDIOCGRDESCSIZE
DESCRIPTOR = _code(_READ, "H", 0x02, 4100)  # HIDIOCGRDESC
