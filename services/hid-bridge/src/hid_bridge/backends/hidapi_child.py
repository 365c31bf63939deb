"""A process that has hidapi for a bridge, which may end it at any time.

hidapi opens and closes devices with the interpreter's lock held: whatever hangs there
stops the process, so it must not be the bridge's. Messages in MessagePack, each behind
its length of four bytes, on stdin and stdout: [number, operation, arguments...] to it;
[number, true, result], [number, false, text], [-1, true, report] and [-1, false, text]
(the device has gone) from it.
"""

import contextlib
import importlib
import os
import sys
import threading
from typing import Any, BinaryIO

import msgspec

SIZE = 16385  # bytes of the largest report with its number
LOOK = 500  # ms of one wait for a report


def load() -> Any:
    """Return hidapi: that of hidraw where there is one, else that of the system."""
    try:
        return importlib.import_module("hidraw")
    except ImportError:
        return importlib.import_module("hid")


class Child:
    """What the bridge asks, one after the other; reports whenever they come."""

    def __init__(self, hidapi: Any, out: BinaryIO) -> None:
        self._hidapi = hidapi
        self._out = out
        self._lock = threading.Lock()
        self._device: Any = None

    def say(self, number: int, good: bool, what: Any) -> None:
        """Send one message."""
        body = msgspec.msgpack.encode([number, good, what])
        with self._lock:
            self._out.write(len(body).to_bytes(4, "little") + body)
            self._out.flush()

    def answer(self, number: int, operation: str, arguments: list[Any]) -> None:
        """Do what is asked and say how it went."""
        try:
            result = getattr(self, f"do_{operation}")(*arguments)
        except Exception as error:  # the bridge judges
            self.say(number, False, f"{error}" or type(error).__name__)
        else:
            self.say(number, True, result)

    def do_enumerate(self) -> list[dict[str, Any]]:
        return [dict(each) for each in self._hidapi.enumerate()]

    def do_open(self, path: bytes) -> bytes:
        device = self._hidapi.device()
        device.open_path(path)
        self._device = device
        with contextlib.suppress(Exception):  # hidapi before 0.14 has none
            return bytes(device.get_report_descriptor())
        return b""

    def do_listen(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def do_write(self, report: bytes) -> int:
        return self._checked(self._device.write(report))

    def do_send_feature(self, report: bytes) -> int:
        return self._checked(self._device.send_feature_report(report))

    def do_get_feature(self, number: int, size: int) -> bytes:
        return bytes(self._device.get_feature_report(number, size))

    def do_get_input(self, number: int, size: int) -> bytes:
        return bytes(self._device.get_input_report(number, size))

    def _checked(self, written: int) -> int:
        if written < 0:
            raise OSError(self._device.error() or "the device refused")
        return written

    def _listen(self) -> None:
        try:
            while True:
                report = self._device.read(SIZE, LOOK)
                if report:
                    self.say(-1, True, bytes(report))
        except Exception as error:  # whatever it is, there are no more reports
            self.say(-1, False, f"{error}" or type(error).__name__)


def main() -> None:
    """Serve until stdin ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print
    child = Child(load(), out)
    source = sys.stdin.buffer
    while head := source.read(4):
        message = msgspec.msgpack.decode(source.read(int.from_bytes(head, "little")))
        child.answer(message[0], message[1], message[2:])
    os._exit(0)  # without waiting for a read


if __name__ == "__main__":
    main()
