"""A module in the place of hidapi's `hidraw`, for the devices of the simulator."""

import os
import select
import time
from pathlib import Path

from hid_bridge.backends import nodes, sysfs


def enumerate():
    """Return every collection of every device."""
    listed = []
    for node in sysfs.hidraw_nodes(Path(os.environ["HID_ROOT"])):
        listed += [
            {
                "path": node.path.encode(),
                "vendor_id": node.vendor,
                "product_id": node.product,
                "serial_number": node.serial,
                "manufacturer_string": "Busbar",
                "product_string": node.name,
                "usage_page": page,
                "usage": 1,
                "interface_number": node.interface,
            }
            for page in (*node.pages, 0xFF77)
        ]
    return listed


class device:
    def open_path(self, path):
        if os.environ.get("HID_HANGS"):
            time.sleep(1000)
        try:
            self._file = nodes.open_node(Path(path.decode()))
        except OSError:
            raise OSError("open failed") from None
        name = Path(path.decode()).name
        known = sysfs.hidraw_nodes(Path(os.environ["HID_ROOT"]))
        self._node = next(each for each in known if Path(each.path).name == name)

    def get_report_descriptor(self):
        return list(self._node.descriptor)

    def write(self, data):
        return os.write(self._file.fd, data)

    def read(self, size, timeout_ms):
        if not select.select([self._file.fd], [], [], timeout_ms / 1000)[0]:
            return []
        data = os.read(self._file.fd, size)
        if not data:
            raise OSError("read error")
        return list(data)

    def send_feature_report(self, data):
        try:
            return self._file.ioctl(nodes.send_feature(len(data)), bytearray(data))
        except OSError:
            return -1

    def get_feature_report(self, number, size):
        return self._asked(nodes.get_feature(size), number, size)

    def get_input_report(self, number, size):
        return self._asked(nodes.get_input(size), number, size)

    def error(self):
        return "ioctl: Broken pipe"

    def _asked(self, request, number, size):
        data = bytearray([number]) + bytes(size - 1)
        self._file.ioctl(request, data)
        return list(data)
