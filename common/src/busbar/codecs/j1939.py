"""Identifiers of SAE J1939: parameter group, source and destination.

Source: SAE J1939-21, 5.2.
"""

BROADCAST = 0xFF
ANY_SOURCE = 0xFE  # the null address: in a database it stands for any sender
_PDU2 = 240  # from here on the PDU format's second byte belongs to the parameter group


def pgn(id: int) -> int:
    """Return the parameter group number of a 29-bit identifier."""
    number = id >> 8 & 0x3FFFF
    return number if _is_pdu2(id) else number & 0x3FF00


def mask(id: int) -> int:
    """Return the bits of a 29-bit identifier that are its parameter group."""
    return 0x3FFFF00 if _is_pdu2(id) else 0x3FF0000


def source(id: int) -> int:
    """Return the source address."""
    return id & 0xFF


def destination(id: int) -> int:
    """Return the destination address; BROADCAST where the group has none."""
    return BROADCAST if _is_pdu2(id) else id >> 8 & 0xFF


def _is_pdu2(id: int) -> bool:
    return id >> 16 & 0xFF >= _PDU2
