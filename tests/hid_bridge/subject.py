"""The HID bridge under the contract suite: in this process, on simulated devices."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from busbar.testing.fakes import until
from hid_bridge.bridge import service
from hid_bridge.simulator import devices
from tests.contract.client import Client
from tests.contract.in_process import NONSENSE, InProcess, ending
from tests.contract.subject import Call, Kind, Subject

PANELS = """
bridge: {{name: counter}}
broker: {{protocol: {protocol}{more}}}
devices:
  - name: panel
    address: hid::1209:0002::port=1-2
    set_features: true
    every: 0.1
    fields:
      - path: level
        kind: feature
        report: 1
        bits: 16
        scale: 0.001
        minimum: 0
        maximum: 30
      - {{path: output, kind: feature, report: 1, byte: 2, bits: 1, type: boolean}}
  - {{name: other, address: "hid::1209:0002::port=1-3"}}
"""
MARK = 4  # the output report that the panel remembers


class Hid(InProcess):
    """A panel, and another one."""

    waiting = ("call/read", {"seconds": 30})  # until it is cancelled

    def __init__(self, root: Path, url: str, protocol: str, more: str) -> None:
        self._root = root
        self._panel = devices.panel()
        self._other = devices.panel("1-3")
        self._panel.plug(root, 0)
        self._other.plug(root, 1)
        self.serve(
            service({"HID_ROOT": str(root)}, None),
            PANELS.format(protocol=protocol, more=more),
            url,
        )
        super().__init__(
            "counter",
            "panel",
            "other",
            "level",
            "output",
            "button/1",
            "refusing",
            "write",
            "call/get_input",
            ("call/get_feature", {"report": 5}),
            {
                "device": ("call/get_feature", {"report": 77, "size": 3}),
                "out_of_range": ("call/write", {"hex": "63 00"}),
                "protocol": ("set/refusing", {"_value": NONSENSE}),
                "timeout": ("call/read", {"seconds": 10, "_timeout": 0.01}),
            },
            True,
        )

    def change(self, path: str, value: Any) -> None:
        state = self._panel.features[1]
        if path == "output":
            state[2] = value
        else:
            state[:2] = round(1000 * value).to_bytes(2, "little")

    def unplug(self) -> None:
        self._panel.unplug()

    async def plug(self) -> None:
        self._panel.plug(self._root, 0)

    def mark(self, number: int) -> Call:
        return "call/send_feature", {"hex": f"05 {number:08x}"}

    def marks(self) -> list[int]:
        sent = [each for each in self._panel.sent if each[0] == 5]
        return [int.from_bytes(each[1:5], "big") for each in sent]

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        panel = self._panel
        panel.slow, before = seconds, panel.slow_inputs
        panel.inputs[2] = b"\0"
        id_ = client.send(self.device, self.slow, {"report": 2, **fields})
        await until(lambda: panel.slow_inputs > before, "the start")
        panel.slow = 0.0
        return id_

    def polls(self) -> int:
        count, self._panel.asked = self._panel.asked, 0
        return count

    @property
    def gone(self) -> bool:
        return self._panel.gone and self._other.gone

    def leave(self) -> None:
        """Take all devices away."""
        self._panel.unplug()
        self._other.unplug()


@asynccontextmanager
async def hid_bridge(
    url: str, protocol: str, folder: Path, more: str = ""
) -> AsyncIterator[Subject]:
    """The HID bridge, not yet started; left = gone."""
    root = Path(tempfile.mkdtemp(prefix="hid-"))  # sockets have short paths
    subject = Hid(root, url, protocol, more)
    try:
        async with ending(subject):
            yield subject
    finally:
        subject.leave()
        await until(lambda: subject.gone, "the end of the panels")
        shutil.rmtree(root, ignore_errors=True)


KIND = Kind(hid_bridge, frozenset({"waiting"}))
