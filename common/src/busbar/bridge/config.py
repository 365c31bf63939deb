"""Parts of a bridge's settings: the keys that all bridges share, common types."""

from busbar.config.loader import (
    Config,
    Fingerprint,
    Name,
    Size,
    check_names,
    parse,
    secret,
)
from busbar.config.property_keys import Labels, Reported, check_choices, joined

__all__ = [
    "Config",
    "Fingerprint",
    "Labels",
    "Name",
    "Reported",
    "Size",
    "check_choices",
    "check_names",
    "joined",
    "parse",
    "secret",
]
