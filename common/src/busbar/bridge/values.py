"""Types of values for settings and properties, and what reads a payload into one."""

from busbar.contract.octets import Encoding, from_text, to_text
from busbar.contract.values import Reader, choice, integer, number, reading

__all__ = [
    "Encoding",
    "Reader",
    "choice",
    "from_text",
    "integer",
    "number",
    "reading",
    "to_text",
]
