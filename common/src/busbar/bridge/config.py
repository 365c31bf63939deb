"""What the settings of a bridge are made of.

The configuration that all bridges share, and types of common keys.
"""

from busbar.config.loader import (
    Config,
    Fingerprint,
    Name,
    Size,
    check_names,
    secret,
)
from busbar.config.property_keys import Labels, Reported, check_choices

__all__ = [
    "Config",
    "Fingerprint",
    "Labels",
    "Name",
    "Reported",
    "Size",
    "check_choices",
    "check_names",
    "secret",
]
