"""Broadcast manager of the kernel: frames that the kernel itself sends periodically.

Source: linux/can/bcm.h.
"""

import os
import socket
import struct
from collections.abc import Callable

from busbar.bridge.errors import LinkLost
from busbar.codecs.can import FD, Frame

# opcode, flags, count, two intervals (s, us), identifier, number of frames
_HEAD = struct.Struct("@3I4l2I0q")
_SETTIMER = 0x001
_STARTTIMER = 0x002
_TX_COUNTEVT = 0x004  # say when the last one is sent
_TX_ANNOUNCE = 0x008
_FD_FRAME = 0x800
_TX_EXPIRED = 9  # opcode
_ANSWER = 256  # bytes, more than a head and a frame


def connected(name: str) -> socket.socket:
    """Return a socket of the broadcast manager of an interface; raise OSError."""
    sock = socket.socket(
        socket.AF_CAN, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.CAN_BCM
    )
    try:
        sock.connect((name,))
    except OSError:
        sock.close()
        raise
    return sock


class BcmFrame:
    """One cyclic frame; it ends with its own socket.

    `pack` makes the kernel's frame. Raise OSError.
    """

    def __init__(
        self,
        sock: socket.socket,
        frame: Frame,
        pack: Callable[[Frame], bytes],
        period: float,
        count: int,
        on_end: Callable[[], None],
    ) -> None:
        self._sock: socket.socket | None = sock
        self._pack = pack
        self._on_end = on_end
        self._ended = False
        flags = _SETTIMER | _STARTTIMER | _TX_ANNOUNCE
        try:
            sock.send(self._setup(frame, flags, period, count))
        except OSError:
            sock.close()
            raise

    def poll_ended(self) -> bool:
        if self._sock is None or self._ended:
            return self._ended
        try:
            answer = self._sock.recv(_ANSWER, socket.MSG_DONTWAIT)
            opcode = _HEAD.unpack_from(answer)[0]
            self._ended = opcode == _TX_EXPIRED
        except BlockingIOError:
            return False
        except OSError:  # its interface has gone
            self._ended = True
        return self._ended

    def update(self, frame: Frame) -> None:
        """Send another frame; raise LinkLost."""
        if self._sock is None:
            return
        try:
            self._sock.send(self._setup(frame, _TX_ANNOUNCE, 0.0, 0))
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise LinkLost(f"the kernel repeats this frame no more: {why}") from error

    def stop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
            self._on_end()

    def _setup(self, frame: Frame, flags: int, period: float, count: int) -> bytes:
        raw = self._pack(frame)
        id_ = struct.unpack_from("=I", raw)[0]
        interval = divmod(round(period * 1e6), 1_000_000)
        intervals = (*interval, 0, 0) if count else (0, 0, *interval)
        flags |= _TX_COUNTEVT
        if frame.flags & FD:
            flags |= _FD_FRAME
        opcode = socket.CAN_BCM_TX_SETUP
        return _HEAD.pack(opcode, flags, count, *intervals, id_, 1) + raw
