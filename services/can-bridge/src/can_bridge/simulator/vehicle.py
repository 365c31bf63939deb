"""A simulated vehicle: engine, battery, lamp, a unit with diagnosis, a GCT node.

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
# identifiers
ENGINE = 0x100
CELLS = 0x200
CRUISE = 0x18FEF17E
ECHO_REQUEST = 0x321
ECHO_RESPONSE = 0x322
DIAGNOSIS_REQUEST = 0x7E0
DIAGNOSIS_RESPONSE = 0x7E8
NODE = 18  # of GCT
PRODUCT = 0xABCD
VIN = b"BUSBAR0SIMULATED0"
_READ_VIN = b"\x22\xf1\x90"
_VIN_FOLLOWS = b"\x62\xf1\x90"


class Vehicle:
    """All units on one bus; `send` puts a frame on it."""

    def __init__(self, send: Callable[[Frame], None]) -> None:
        self.seen: deque[Frame] = deque(maxlen=SEEN_KEPT)
        self.quiet = False  # nothing is sent by itself
        self.silent = False  # nothing is answered
        self.values: dict[int, bytes] = {1: b"\x01"}  # of the node, by SysCtrl command
        self._send = send
        self._beats = 0
        self._decoder = gct.Decoder()
        self._receiver = isotp.Receiver()
        self._sender: isotp.Sender | None = None

    def tick(self) -> None:
        """Send the frames of every 0.1 s."""
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
            self.send_message(gct.Heartbeat(NODE, PRODUCT))

    def take(self, frame: Frame) -> None:
        """Take a frame of the bridge, and answer."""
        self.seen.append(frame)
        if self.silent or frame.flags & REMOTE:
            return
        if frame.flags & EXTENDED:
            message = self._decoder.feed(frame.id, frame.data, time.monotonic())
            if message is not None:
                self._answer(message)
        elif frame.id == ECHO_REQUEST:
            self.put(ECHO_RESPONSE, frame.data)
        elif frame.id == DIAGNOSIS_REQUEST:
            self._diagnose(frame.data)

    def put(self, id: int, data: bytes, *, extended: bool = False) -> None:
        """Send a frame."""
        self._send(can.frame(id, data, extended=extended))

    def send_message(self, message: gct.Message) -> None:
        """Send a GCT message."""
        for id_, data in gct.encode(message):
            self.put(id_, data, extended=True)

    def _answer(self, message: gct.Message) -> None:
        """Answer a GCT message to this node, or to all."""
        if isinstance(message, gct.Heartbeat | gct.MonitoringData):
            return
        if message.dst not in (NODE, gct.BROADCAST):
            return
        if isinstance(message, gct.SysCtrl):
            self._answer_sysctrl(message)
        elif isinstance(message, gct.MonitoringRequest):
            for reading in message.readings:
                data = struct.pack("<f", 20 + reading / 2)
                self.send_message(
                    gct.MonitoringData(NODE, message.group, reading, data)
                )
        elif message.dst == NODE and message.data[:1] >= b"\x80":
            code, *rest = message.data
            data = bytes((code & 0x7F, *reversed(rest)))
            self.send_message(gct.Ddp(NODE, message.src, data, message.version))

    def _answer_sysctrl(self, message: gct.SysCtrl) -> None:
        command = message.command
        if message.value or message.data:
            self.values[command] = message.data
        if message.query:
            data = self.values.get(command, b"")
            self.send_message(
                gct.SysCtrl(NODE, message.src, command, value=True, data=data)
            )

    def _diagnose(self, data: bytes) -> None:
        """Answer the question for the vehicle identification number; mirror others."""
        try:
            if self._sender is not None and self._sender.feed(data):
                self._send_more()
                return
            message, control = self._receiver.feed(data)
        except BusbarError:
            return
        if control is not None:
            self.put(DIAGNOSIS_RESPONSE, control.ljust(8, b"\0"))
        if message is not None:
            answer = message[::-1]
            if message == _READ_VIN:
                answer = _VIN_FOLLOWS + VIN
            self._sender = isotp.Sender(answer)
            self._send_more()

    def _send_more(self) -> None:
        assert self._sender is not None
        for data in self._sender.frames():
            self.put(DIAGNOSIS_RESPONSE, data)
        if self._sender.done:
            self._sender = None
