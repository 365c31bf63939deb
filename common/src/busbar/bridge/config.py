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

__all__ = ["Config", "Fingerprint", "Name", "Size", "check_names", "secret"]
