"""Username and password of a device, as the configuration gives them."""

import contextlib
from collections.abc import Iterator

from busbar.bridge import ConfigError, config
from cip_bridge.settings import Device

Credentials = tuple[str, str]


@contextlib.contextmanager
def naming(device: str) -> Iterator[None]:
    """Put the name of the device before a problem with its files."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{device}: {error}") from error


def credentials(settings: Device) -> Credentials | None:
    """Return username and password, None without them; raise ConfigError."""
    with naming(settings.name):
        password = config.secret(settings.password, settings.password_file, "password")
    if settings.username is None or password is None:
        return None
    return settings.username, password
