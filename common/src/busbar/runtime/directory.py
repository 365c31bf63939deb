"""Directory of a bridge's devices: one mapping from name to device and link."""

from busbar.link.open_link import OpenLink
from busbar.publish.device import DevicePublisher


class DeviceDirectory:
    """Finds devices by name; names are those of one bridge."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[DevicePublisher, OpenLink]] = {}

    def __contains__(self, device: str) -> bool:
        return device in self._entries

    def find(self, device: str) -> tuple[DevicePublisher, OpenLink] | None:
        """Return a device and the link that it is on."""
        return self._entries.get(device)

    def add(self, device: DevicePublisher, link: OpenLink) -> None:
        """Take a device in."""
        self._entries[device.name] = device, link

    def remove(self, device: DevicePublisher) -> None:
        """Strike a device out; another of its name stays."""
        entry = self._entries.get(device.name)
        if entry is not None and entry[0] is device:
            del self._entries[device.name]
