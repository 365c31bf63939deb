"""A simulated vehicle: engine, battery, lamp, a diagnosed unit, a GCT node.

Frames in, frames out; no sockets.
"""

import math
import struct
import time
from collections import deque
from collections.abc import Callable

from busbar.bridge.errors import BusbarError
from busbar.codecs import can, gct, isotp
from busbar.codecs.can import EXTENDED, REMOTE, Frame

SEEN_KEPT = 10_000  # frames from the bridge, for tests to look at
ENGINE, CELLS, LAMP, CRUISE = 0x100, 0x200, 0x210, 0x18FEF17E
DIAGNOSE, DIAGNOSED = 0x7E0, 0x7E8
ASKED, ANSWERED = 0x321, 0x322
NODE, PRODUCT = 18, 0xABCD
VIN = b"BUSBAR0SIMULATED0"
_READ_VIN, _VIN_FOLLOWS = b"\x22\xf1\x90", b"\x62\xf1\x90"


class Vehicle:
    """All units on one bus; `send` puts a frame on it."""

    def __init__(self, send: Callable[[Frame], None]) -> None:
        self.seen: deque[Frame] = deque(maxlen=SEEN_KEPT)
        self.quiet = False  # nothing is sent by itself
        self.deaf = False  # nothing is answered
        self.values: dict[int, bytes] = {1: b"\x01"}  # of the node, by SysCtrl command
        self._send = send
        self._beats = 0
        self._decoder = gct.Decoder()
        self._receiver = isotp.Receiver()
        self._sender: isotp.Sender | None = None

    def tick(self) -> None:
        """Send what is sent every 0.1 s."""
        if self.quiet:
            return
        self._beats += 1
        speed = 2000 + 1000 * math.sin(self._beats / 50)
        gear = 1 + self._beats // 30 % 3
        self.put(ENGINE, struct.pack("<HBB4x", round(speed * 4), 130, gear | 0x10))
        page = self._beats % 2
        self.put(CELLS, struct.pack("<BHx", page, 3700 + 100 * page + self._beats % 10))
        self.put(CRUISE, struct.pack("<xH5x", 80 * 256), extended=True)
        if self._beats % 10 == 1:
            self.say(gct.Heartbeat(NODE, PRODUCT))

    def take(self, frame: Frame) -> None:
        """Take a frame of the bridge, and answer."""
        self.seen.append(frame)
        if self.deaf or frame.flags & REMOTE:
            return
        if frame.flags & EXTENDED:
            message = self._decoder.feed(frame.id, frame.data, time.monotonic())
            if message is not None:
                self._asked(message)
        elif frame.id == ASKED:
            self.put(ANSWERED, frame.data)
        elif frame.id == DIAGNOSE:
            self._diagnosed(frame.data)

    def put(self, id: int, data: bytes, *, extended: bool = False) -> None:
        """Send a frame."""
        self._send(can.frame(id, data, extended=extended))

    def say(self, message: gct.Message) -> None:
        """Send a GCT message."""
        for id_, data in gct.encode(message):
            self.put(id_, data, extended=True)

    def _asked(self, message: gct.Message) -> None:
        match message:
            case gct.SysCtrl(src, dst, command, value, query, data) if dst in (
                NODE,
                gct.BROADCAST,
            ):
                if value or data:
                    self.values[command] = data
                if query:
                    self.say(
                        gct.SysCtrl(
                            NODE,
                            src,
                            command,
                            value=True,
                            data=self.values.get(command, b""),
                        )
                    )
            case gct.MonitoringRequest(_, dst, group, readings) if dst in (
                NODE,
                gct.BROADCAST,
            ):
                for reading in readings:
                    self.say(
                        gct.MonitoringData(
                            NODE, group, reading, struct.pack("<f", 20 + reading / 2)
                        )
                    )
            case gct.Ddp(src, dst, data, version) if (
                dst == NODE and data[:1] >= b"\x80"
            ):
                self.say(
                    gct.Ddp(
                        NODE, src, bytes((data[0] & 0x7F,)) + data[1:][::-1], version
                    )
                )

    def _diagnosed(self, data: bytes) -> None:
        """Answer one question: what is the vehicle identification number."""
        try:
            if self._sender is not None and self._sender.feed(data):
                self._send_more()
                return
            message, control = self._receiver.feed(data)
        except BusbarError:
            return
        if control is not None:
            self.put(DIAGNOSED, control.ljust(8, b"\0"))
        if message is not None:
            known = message == _READ_VIN
            answer = _VIN_FOLLOWS + VIN if known else message[::-1]
            self._sender = isotp.Sender(answer)
            self._send_more()

    def _send_more(self) -> None:
        assert self._sender is not None
        for data in self._sender.frames():
            self.put(DIAGNOSED, data)
        if self._sender.done:
            self._sender = None
