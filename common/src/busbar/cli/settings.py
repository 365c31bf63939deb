"""Settings of every command: the broker, the root, how to print.

From options, else from the environment.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from busbar.client import default_url
from busbar.config import loader
from busbar.contract.names import LEVEL
from busbar.errors import ConfigError
from busbar.net.endpoint import Endpoint

ROOT = "busbar"
CONNECT_TIMEOUT = 5.0  # s
PATIENCE = 60.0  # s for all that the broker retains, while it comes

WITHOUT_VARIABLE = {"json", "verbose"}  # options that each call gives itself
# Every variable that Busbar reads; `doctor` names others.
OTHER_VARIABLES = frozenset({"BUSBAR_PASSWORD", "BUSBAR_LEASE"})


@dataclass(frozen=True)
class Settings:
    """The options that all commands share; None = not given."""

    broker: str | None = None
    root: str | None = None
    json: bool | None = None
    username: str | None = None
    password: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure: bool | None = None
    protocol: str | None = None
    connect_timeout: float | None = None  # s
    keepalive: int | None = None  # s
    verbose: bool | None = None

    @cached_property
    def endpoint(self) -> Endpoint:
        """How to reach the broker; raise ConfigError."""
        password = self.password
        if self.password_file is not None:
            password = None  # what names a file is the later decision
        endpoint = Endpoint(
            self.broker or default_url(),
            username=self.username,
            password=loader.secret(password, self.password_file, "password"),
            protocol=self.protocol or "5",
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
            insecure=bool(self.insecure),
            keepalive=self.keepalive or Endpoint.keepalive,
        )
        if endpoint.tls:
            # files that cannot be used are an error of usage, not of the connection
            endpoint.ssl_context()
        return endpoint

    @property
    def prefix(self) -> str:
        """The root of all topics; raise ConfigError."""
        root = self.root or ROOT
        if not all(map(LEVEL.fullmatch, root.split("/"))):
            raise ConfigError(
                f"root {root!r} is not levels of A-Z a-z 0-9 _ - with / between them"
            )
        return root

    @property
    def timeout(self) -> float:
        """Seconds for the first connection."""
        if self.connect_timeout is None:
            return CONNECT_TIMEOUT
        return self.connect_timeout

    def over(self, other: "Settings") -> "Settings":
        """Return what these say, and where they say nothing what the others do."""
        return Settings(**(_given(other) | _given(self)))

    def environment(self) -> dict[str, str]:
        """Return the variables by which a program of ours finds the same broker."""
        found = {}
        for name, value in _given(self).items():
            if name not in WITHOUT_VARIABLE:
                found[variable(name)] = _text(value)
        return found


def variable(name: str) -> str:
    """Return the environment variable of an option."""
    if name == "broker":
        return "BUSBAR_URL"
    return f"BUSBAR_{name.upper()}"


_SHARED = {each.name for each in fields(Settings)} - WITHOUT_VARIABLE
VARIABLES = OTHER_VARIABLES.union(map(variable, _SHARED))


def _given(settings: Settings) -> dict[str, Any]:
    found = {}
    for each in fields(settings):
        value = getattr(settings, each.name)
        if value is not None:
            found[each.name] = value
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return str(value)
