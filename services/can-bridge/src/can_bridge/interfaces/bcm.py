"""The kernel's broadcast manager: frames that the kernel itself sends again and again.

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
_SETTIMER, _STARTTIMER, _TELL_END, _ANNOUNCE, _FD_FRAME = (
    0x001,
    0x002,
    0x004,
    0x008,
    0x800,
)
_ENDED = 9  # opcode TX_EXPIRED
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


class Broadcast:
    """One cyclic frame; it ends with its socket, which is its own.

    `pack` makes the kernel's frame; raise OSError.
    """

    def __init__(
        self,
        sock: socket.socket,
        frame: Frame,
        pack: Callable[[Frame], bytes],
        period: float,
        count: int,
        ended: Callable[[], None],
    ) -> None:
        self._sock: socket.socket | None = sock
        self._pack, self._ended, self._done = pack, ended, False
        try:
            sock.send(
                self._setup(frame, _SETTIMER | _STARTTIMER | _ANNOUNCE, period, count)
            )
        except OSError:
            sock.close()
            raise

    @property
    def done(self) -> bool:
        if self._sock is not None and not self._done:
            try:
                self._done = (
                    _HEAD.unpack_from(self._sock.recv(_ANSWER, socket.MSG_DONTWAIT))[0]
                    == _ENDED
                )
            except BlockingIOError:
                return False
            except OSError:  # its interface has gone
                self._done = True
        return self._done

    def update(self, frame: Frame) -> None:
        """Raise LinkLost."""
        if self._sock is not None:
            try:
                self._sock.send(self._setup(frame, _ANNOUNCE, 0.0, 0))
            except OSError as error:
                raise LinkLost(
                    f"the kernel repeats this frame no more: "
                    f"{os.strerror(error.errno or 0)}"
                ) from error

    def stop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
            self._ended()

    def _setup(self, frame: Frame, flags: int, period: float, count: int) -> bytes:
        raw = self._pack(frame)
        id_ = struct.unpack_from("=I", raw)[0]
        interval = divmod(round(period * 1e6), 1_000_000)
        first, then = (interval, (0, 0)) if count else ((0, 0), interval)
        flags |= _TELL_END | (_FD_FRAME if frame.flags & FD else 0)
        return (
            _HEAD.pack(socket.CAN_BCM_TX_SETUP, flags, count, *first, *then, id_, 1)
            + raw
        )
