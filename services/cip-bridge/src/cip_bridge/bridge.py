"""Links of the configuration, in both roles."""

from collections.abc import Iterable

from busbar.bridge import ConfigError, Link, Service
from cip_bridge.panel_role.link import panel_link
from cip_bridge.processor_role.link import processor_link
from cip_bridge.settings import Config, Device, listeners


def link(settings: Device) -> Link:
    """Return the link of a device that a command opens; raise ConfigError."""
    if settings.joins_file is not None:  # its first line would be in the error
        raise ConfigError("joins_file: only in the configuration, not in `open`")
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
