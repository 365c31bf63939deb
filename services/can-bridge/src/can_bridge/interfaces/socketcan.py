"""SocketCAN: raw sockets of the Linux kernel, read in batches without a thread.

Receiving raw is 5 to 38 times cheaper than through python-can, and only a raw socket
says how much it dropped. Source: docs/protocols/can.md, 3.1, and
Documentation/networking/can.rst of the kernel.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Sequence

from busbar.bridge.errors import BadRequest, BusbarError, LinkLost, Overloaded
from busbar.codecs import canlink
from busbar.codecs.can import BRS, ERROR, ESI, EXTENDED, FD, REMOTE, SENT, Frame, Mask
from can_bridge.interfaces import bcm
from can_bridge.interfaces.bcm import BcmFrame
from can_bridge.interfaces.interface import Health, log, readable, writable

BATCH = 1000  # frames read before others may run
# of one socket (CAN_RAW_FILTER_MAX); with more, all frames pass
FILTERS_LIMIT = 512
# s until another attempt when the interface's queue is full: epoll does not say
FULL_PAUSE = 0.002

_CLASSIC = 16  # bytes of struct can_frame
_FD_SIZE = 72  # of struct canfd_frame
_HEAD = struct.Struct("=IBBxx")
_STAMP = struct.Struct("@ll")
_COUNT = struct.Struct("=I")
_FILTER = struct.Struct("=II")
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_SO_RXQ_OVFL = 40
_ERR_FILTER = 2  # CAN_RAW_ERR_FILTER
_ANCILLARY = socket.CMSG_SPACE(_STAMP.size) + socket.CMSG_SPACE(_COUNT.size)
_EXTENDED_FLAG = 0x80000000
_REMOTE_FLAG = 0x40000000
_ID_BITS = 0x1FFFFFFF
_FD_BRS = 1
_FD_FRAME = 4
# by the three bits above an identifier
_ID_FLAGS = (
    0,
    ERROR,
    REMOTE,
    REMOTE | ERROR,
    EXTENDED,
    EXTENDED | ERROR,
    EXTENDED | REMOTE,
    EXTENDED | REMOTE | ERROR,
)
# by the two lowest flags of struct canfd_frame
_FD_FLAGS = (FD, FD | BRS, FD | ESI, FD | BRS | ESI)
# of msg_flags
_OWN = socket.MSG_CONFIRM  # from this socket
_LOCAL = socket.MSG_DONTROUTE  # from this machine
_SIOCGIFFLAGS = 0x8913
_SIOCGIFHWADDR = 0x8927
_ARPHRD_CAN = 280
_FULL = (errno.ENOBUFS, errno.EAGAIN)
_GONE = (errno.ENODEV, errno.ENXIO)


def pack(frame: Frame) -> bytes:
    """Return a frame as the kernel has it."""
    id_ = frame.id
    if frame.flags & EXTENDED:
        id_ |= _EXTENDED_FLAG
    if frame.flags & REMOTE:
        id_ |= _REMOTE_FLAG
    if not frame.flags & FD:
        head = _HEAD.pack(id_, frame.length, 0)
        return (head + frame.data).ljust(_CLASSIC, b"\0")
    flags = _FD_FRAME
    if frame.flags & BRS:
        flags |= _FD_BRS
    head = _HEAD.pack(id_, frame.length, flags)
    return (head + frame.data).ljust(_FD_SIZE, b"\0")


class SocketCan:
    """One interface of this machine."""

    echoes = True
    refused = 0

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        number: int,
        send_timeout: float,
        own: bool,
    ) -> None:
        self.dropped = 0
        self.skipped = 0
        self._sock = sock
        self._name = name
        self._number = number
        self._timeout = send_timeout
        self._receive_own = own
        # key of frames that the kernel repeats for us -> how many
        self._cyclic: dict[int, int] = {}

    async def receive(self) -> Sequence[Frame]:
        frames = self._read()
        while not frames:
            await readable(self._sock.fileno())
            frames = self._read()
        return frames

    def _read(self) -> list[Frame]:
        frames: list[Frame] = []
        take = frames.append
        recvmsg = self._sock.recvmsg
        try:
            for _ in range(BATCH):
                raw, ancillary, state, _address = recvmsg(_FD_SIZE, _ANCILLARY)
                frame = self._frame(raw, ancillary, state)
                if frame is not None:
                    take(frame)
        except BlockingIOError:
            return frames
        except OSError as error:
            if not frames:
                raise self._lost(error) from error
        return frames

    def _frame(
        self, raw: bytes, ancillary: Sequence[tuple[int, int, bytes]], state: int
    ) -> Frame | None:
        stamp = 0.0
        for _, kind, data in ancillary:
            if kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _STAMP.unpack(data)
                stamp = seconds + nanoseconds // 1000 / 1e6
            elif kind == _SO_RXQ_OVFL:
                self.dropped = _COUNT.unpack(data)[0]
        id_, length, more = _HEAD.unpack_from(raw)
        flags = _ID_FLAGS[id_ >> 29]
        if len(raw) == _FD_SIZE:
            flags |= _FD_FLAGS[more & 3]
        data = b"" if flags & REMOTE else raw[8 : 8 + length]
        frame = Frame(stamp or time.time(), id_ & _ID_BITS, flags, length, data)
        if state & _LOCAL and (state & _OWN or frame.key in self._cyclic):
            if not self._receive_own:
                return None
            return frame._replace(flags=flags | SENT)
        return frame

    async def send(self, frame: Frame) -> None:
        raw = pack(frame)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        while True:
            try:
                self._sock.send(raw)
                return
            except OSError as error:
                if error.errno not in _FULL:
                    raise self._lost(error) from error
                if loop.time() >= deadline:
                    raise Overloaded(
                        f"the send queue of {self._name} has been full for "
                        f"{self._timeout:g} s"
                    ) from error
                if error.errno == errno.EAGAIN:
                    await writable(self._sock.fileno(), FULL_PAUSE)
                else:
                    await asyncio.sleep(FULL_PAUSE)

    def accept(self, masks: Sequence[Mask] | None) -> None:
        if masks is None or len(masks) > FILTERS_LIMIT:
            raw = _FILTER.pack(0, 0)
        else:
            raw = b"".join(_filter(mask) for mask in masks)
        self._sock.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, raw)

    def cyclic(self, frame: Frame, period: float, count: int) -> BcmFrame:
        key = frame.key
        self._cyclic[key] = self._cyclic.get(key, 0) + 1
        try:
            return BcmFrame(
                bcm.connected(self._name),
                frame,
                pack,
                period,
                count,
                lambda: self._forget_cyclic(key),
            )
        except OSError as error:
            self._forget_cyclic(key)
            raise self._lost(error) from error

    def _forget_cyclic(self, key: int) -> None:
        self._cyclic[key] -= 1
        if not self._cyclic[key]:
            del self._cyclic[key]

    async def health(self) -> Health:
        about = interface(self._name)
        if not about.up:
            raise LinkLost(_down(self._name))
        if about.number != self._number:
            raise LinkLost(f"{self._name} is another interface than before")
        state = None if about.state == "stopped" else about.state  # on its way up
        return Health(
            state,
            about.bitrate,
            about.data_bitrate,
            about.tx_errors,
            about.rx_errors,
            about.restart,
        )

    def _lost(self, error: OSError) -> BusbarError:
        if error.errno == errno.ENETDOWN:
            return LinkLost(_down(self._name))
        if error.errno in _GONE:
            return LinkLost(f"{self._name} is gone")
        if error.errno == errno.EINVAL:
            hint = f"no CAN FD there? as root: ip link set {self._name} mtu 72"
            return BadRequest(f"{self._name} does not take the frame: {hint}")
        return LinkLost(f"{self._name}: {os.strerror(error.errno or 0)}")


def _filter(mask: Mask) -> bytes:
    id_ = mask.id | _EXTENDED_FLAG if mask.extended else mask.id
    return _FILTER.pack(id_, mask.mask | _EXTENDED_FLAG)


def _down(name: str) -> str:
    return f"{name} is down; as root: ip link set {name} up"


def interface(name: str) -> canlink.Interface:
    """Ask the kernel for an interface; raise LinkLost if there is none."""
    try:
        return canlink.parse(_asked(canlink.request(name)))
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.EINVAL):
            here = ", ".join(each for each, _ in names()) or "none"
            raise LinkLost(
                f"there is no interface {name}; of CAN there are: {here}"
            ) from error
        raise LinkLost(
            f"cannot ask the kernel for {name}: {error.strerror or error}"
        ) from error


def restart(name: str, number: int) -> None:
    """Restart a controller that is off; raise LinkLost if the kernel refuses."""
    try:
        canlink.check_acknowledged(_asked(canlink.restart(number)))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        hint = f"as root: ip link set {name} down && ip link set {name} up"
        raise LinkLost(
            f"{name} is bus-off and cannot be restarted: {why}; {hint}"
        ) from error


def _asked(message: bytes) -> bytes:
    with netlink() as link:
        link.send(message)
        return link.recv(65536)


def netlink() -> socket.socket:
    """Return a socket on which the kernel answers at once."""
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    link.settimeout(1.0)
    return link


def check(
    name: str,
    about: canlink.Interface,
    bitrate: int | None,
    data_bitrate: int | None,
    listen: bool,
) -> None:
    """Raise LinkLost, with the command for root, unless the interface is as wanted."""
    rates = {
        "bitrate": (bitrate, about.bitrate),
        "dbitrate": (data_bitrate, about.data_bitrate),
    }
    wrong = []
    options = []
    for key, (want, is_) in rates.items():
        if want is not None:
            options.append(f"{key} {want}")
            if is_ not in (None, want):
                wrong.append(f"{key} is {is_}, not {want}")
    if data_bitrate:
        options.append("fd on")
    options.append(f"listen-only {_on_off(listen)}")
    if about.listen_only not in (None, listen):
        wrong.append(f"listen-only is {_on_off(not listen)}")
    if wrong:
        raise LinkLost(
            f"{name}: {', '.join(wrong)}; as root: ip link set {name} down && "
            f"ip link set {name} type can {' '.join(options)} && ip link set {name} up"
        )


def _on_off(state: bool) -> str:
    return "on" if state else "off"


@contextlib.asynccontextmanager
async def open_socketcan(
    name: str,
    *,
    fd: bool = False,
    own: bool = False,
    buffer: int = 8 * 1024 * 1024,
    send_timeout: float = 1.0,
    bitrate: int | None = None,
    data_bitrate: int | None = None,
    listen_only: bool = False,
    restarts: bool = False,
) -> AsyncIterator[SocketCan]:
    """Open an interface, restart it with `restarts` if bus-off; raise LinkLost."""
    about = interface(name)
    if not about.up:
        raise LinkLost(_down(name))
    check(name, about, bitrate, data_bitrate, listen_only)
    if restarts and about.state == "off" and not about.restart:
        restart(name, about.number)
    with _raw_socket() as sock:
        _prepare(sock, name, fd, own, buffer)
        yield SocketCan(sock, name, about.number, send_timeout, own)


def _raw_socket() -> socket.socket:
    """Return a raw socket, not yet bound; raise LinkLost."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    try:
        return socket.socket(socket.AF_CAN, kind, socket.CAN_RAW)
    except OSError as error:
        what = f"no CAN socket: {error.strerror}"
        if error.errno == errno.EAFNOSUPPORT:
            what = (
                "this kernel has no CAN, or the service may not use it "
                "(RestrictAddressFamilies needs AF_CAN)"
            )
        raise LinkLost(what) from error


def _prepare(sock: socket.socket, name: str, fd: bool, own: bool, buffer: int) -> None:
    sock.setblocking(False)
    _enlarge(sock, name, buffer)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        sock.setsockopt(socket.SOL_CAN_RAW, _ERR_FILTER, _ID_BITS)
        sock.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_RECV_OWN_MSGS, int(own))
        sock.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, int(fd))
        sock.bind((name,))
    except OSError as error:
        raise LinkLost(f"cannot use {name}: {error.strerror}") from error


def _enlarge(sock: socket.socket, name: str, buffer: int) -> None:
    """Let the kernel keep more frames.

    Its default overflows within a few hundred (docs/protocols/can.md, 3.1).
    """
    buffer = min(buffer, 2**30)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    # the kernel returns twice the size, for its bookkeeping
    got = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    if got < buffer:
        log.info(
            "%s: receive buffer of %d bytes instead of %d; "
            "sysctl net.core.rmem_max allows more",
            name,
            got,
            buffer,
        )


def names() -> list[tuple[str, bool]]:
    """Return the CAN interfaces of this machine, and whether each is up."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                kind = _ioctl(probe, name, _SIOCGIFHWADDR)
                flags = _ioctl(probe, name, _SIOCGIFFLAGS)
            except OSError:  # it has just gone
                continue
            if kind == _ARPHRD_CAN:
                found.append((name, bool(flags & 1)))
    return found


def _ioctl(probe: socket.socket, name: str, request: int) -> int:
    """Return the first number of an answer about an interface; raise OSError."""
    answer = fcntl.ioctl(probe, request, struct.pack("16s24x", name.encode()))
    number: int = struct.unpack_from("H", answer, 16)[0]
    return number
