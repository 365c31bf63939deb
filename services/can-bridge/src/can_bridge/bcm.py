"""The kernel's broadcast manager: frames that the kernel itself sends again and again. Source: linux/can/bcm.h."""

import socket
import struct
from collections.abc import Callable

from busbar.codecs.can import FD, Frame

_HEAD = struct.Struct("@3I4l2I0q")  # opcode, flags, count, two intervals (s, us), identifier, number of frames
_SETTIMER, _STARTTIMER, _ANNOUNCE, _FD_FRAME = 0x001, 0x002, 0x008, 0x800
_EXTENDED_FLAG = 0x80000000


class Broadcast:
    """One cyclic frame; it ends with its socket."""

    def __init__(
        self,
        name: str,
        frame: Frame,
        pack: Callable[[Frame], bytes],
        period: float,
        count: int,
        ended: Callable[[], None],
    ) -> None:
        self._pack, self._ended = pack, ended
        self._sock: socket.socket | None = socket.socket(
            socket.AF_CAN, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.CAN_BCM
        )
        try:
            self._sock.connect((name,))
            self._sock.send(self._setup(frame, _SETTIMER | _STARTTIMER | _ANNOUNCE, period, count))
        except OSError:
            self._sock.close()
            raise

    def update(self, frame: Frame) -> None:
        if self._sock is not None:
            self._sock.send(self._setup(frame, _ANNOUNCE, 0.0, 0))

    def stop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
            self._ended()

    def _setup(self, frame: Frame, flags: int, period: float, count: int) -> bytes:
        raw = self._pack(frame)
        id_ = struct.unpack_from("=I", raw)[0]
        interval = (int(period), round(period % 1 * 1e6))
        first, then = (interval, (0, 0)) if count else ((0, 0), interval)
        flags |= _FD_FRAME if frame.flags & FD else 0
        return _HEAD.pack(socket.CAN_BCM_TX_SETUP, flags, count, *first, *then, id_, 1) + raw
