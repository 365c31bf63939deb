"""Types of values for settings and properties, and what reads a payload into one."""

from busbar.contract.values import Reader, choice, integer, number, reading

__all__ = ["Reader", "choice", "integer", "number", "reading"]
