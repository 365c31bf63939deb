"""A HID bridge on a broker in memory, its devices in a folder in the place of /."""

import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

from busbar.testing.fakes import until
from hid_bridge.bridge import service
from hid_bridge.simulator import devices
from tests.running import running

PANEL = """
bridge: {name: counter}
devices:
  - name: panel
    address: hid::1209:0002
    set_features: true
    %s
    fields:
      - path: level
        kind: feature
        report: 1
        bits: 16
        scale: 0.001
        minimum: 0
        maximum: 30
"""
SCALE = """
bridge: {name: counter}
devices:
  - {name: scale, address: "hid::0922:8003" %s}
"""


class Stage:
    """The bus and the devices that are plugged in."""

    def __init__(self, root):
        self.root, self.bus = root, None
        self._made = []

    def plug(self, made, number=0):
        made.plug(self.root, number)
        self._made.append(made)
        return made

    def end(self):
        for each in self._made:
            each.unplug()

    @property
    def gone(self):
        return all(each.gone for each in self._made)

    def events(self, device, name="report"):
        return self.bus.events(device, name)

    async def ok(self, device, command, **arguments):
        reply = await self.bus.call(device, command, arguments)
        assert reply["ok"], reply
        return reply["result"]

    async def refused(self, device, command, code, **arguments):
        reply = await self.bus.call(device, command, arguments)
        assert reply.get("error", {}).get("code") == code, reply
        return reply["error"]["message"]


@asynccontextmanager
async def stage(configuration, *made, online="", backend=None):
    """A bridge with these devices plugged in; online: wait for this one."""
    root = Path(tempfile.mkdtemp(prefix="hid-"))  # sockets have short paths
    there = Stage(root)
    (root / "dev/input").mkdir(parents=True)
    os.environ["HID_ROOT"] = str(root)  # for the children
    try:
        for number, each in enumerate(made):
            there.plug(each, number)
        offered = service({"HID_ROOT": str(root)}, backend)
        async with running(offered, configuration) as bus:
            there.bus = bus
            if online:
                await bus.status(online, "online")
            yield there
    finally:
        there.end()
        await until(lambda: there.gone, "the end of the devices")
        del os.environ["HID_ROOT"]
        shutil.rmtree(root, ignore_errors=True)


__all__ = ["PANEL", "SCALE", "Stage", "devices", "stage"]
