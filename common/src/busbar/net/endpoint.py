"""Address of a broker: url, credentials, TLS."""

import re
import ssl
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from busbar.errors import ConfigError
from busbar.net.tls import present

_CREDENTIALS = re.compile(r"^(?!unix:)(\w+://)?.*@", re.DOTALL)
# s; the broker tells readers that we are gone after one and a half of it, we notice a
# dead broker after two. Shorter than 5 s, a busy machine would be taken for dead
KEEPALIVES = (5, 120)


@dataclass(frozen=True)
class Endpoint:
    """A broker: `mqtt://host[:port]`, `mqtts://host[:port]` or `unix:///path`."""

    url: str
    username: str | None = None
    password: str | None = None
    protocol: str = "5"  # or "3.1.1"
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure: bool = False  # no check of the broker's certificate
    keepalive: int = 15  # s, see KEEPALIVES

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError:  # its text may hold a piece of the password
            raise ConfigError(
                f"broker url {self.shown!r}: the host or port cannot be read"
            ) from None
        whole = (
            parts.path and not parts.netloc
            if parts.scheme == "unix"
            else parts.hostname
        )
        if parts.scheme not in ("mqtt", "mqtts", "unix") or not whole:
            raise ConfigError(
                f"broker url {self.shown!r}: allowed are mqtt://host, "
                f"mqtts://host, "
                f"unix:///path"
            )

    @property
    def shown(self) -> str:
        """The url without credentials, even where they are badly quoted."""
        return _CREDENTIALS.sub(r"\1", self.url)

    @property
    def host(self) -> str:
        parts = urlsplit(self.url)
        return parts.path if parts.scheme == "unix" else parts.hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (8883 if self.tls else 1883)

    @property
    def tls(self) -> bool:
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def unix(self) -> bool:
        return urlsplit(self.url).scheme == "unix"

    @property
    def credentials(self) -> tuple[str | None, str | None]:
        parts = urlsplit(self.url)
        username = self.username or (
            unquote(parts.username) if parts.username else None
        )
        return username, self.password or (
            unquote(parts.password) if parts.password else None
        )

    def ssl_context(self) -> ssl.SSLContext:
        """Return the TLS context; raise ConfigError when a file cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ca_file {self.ca_file}: {error}") from error
        if self.cert_file:
            present(context, self.cert_file, self.key_file)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
