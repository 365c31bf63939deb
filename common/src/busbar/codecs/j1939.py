"""Identifiers of SAE J1939: parameter group, source and destination.

Source: SAE J1939-21, 5.2.
"""

BROADCAST = 0xFF
ANY_SOURCE = 0xFE  # the null address: in a database a place holder for whoever sends
_PDU2 = 240  # from here on the PDU format's second byte belongs to the parameter group


def pgn(id: int) -> int:
    """Return the parameter group number of a 29-bit identifier."""
    number = id >> 8 & 0x3FFFF
    return number if number >> 8 & 0xFF >= _PDU2 else number & 0x3FF00


def mask(id: int) -> int:
    """Return the bits of a 29-bit identifier that say which parameter group it is, whatever priority and source."""
    return 0x3FFFF00 if id >> 16 & 0xFF >= _PDU2 else 0x3FF0000


def source(id: int) -> int:
    """Return the source address."""
    return id & 0xFF


def destination(id: int) -> int:
    """Return the destination address, BROADCAST for a parameter group that is for all."""
    return BROADCAST if (id >> 16 & 0xFF) >= _PDU2 else id >> 8 & 0xFF
