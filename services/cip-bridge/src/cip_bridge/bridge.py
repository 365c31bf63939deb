"""Links of the configuration, in both roles."""

from collections.abc import Iterable

from busbar.bridge import Link, Service
from cip_bridge.panel_role.link import panel_link
from cip_bridge.processor_role.link import processor_link
from cip_bridge.settings import Config, Device, listeners


def link(settings: Device) -> Link:
    """Return the link of one device."""
    if settings.mode == "panel":
        return panel_link(settings)
    return processor_link([settings])


def links(config: Config) -> Iterable[Link]:
    """Yield a link for each processor, and one for each port that panels connect to."""
    for device in config.devices:
        if device.mode == "panel":
            yield panel_link(device)
    for devices in listeners(config.devices).values():
        yield processor_link(devices)


SERVICE = Service("cip", Config, links, Device, link)
