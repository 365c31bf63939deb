"""Human Interface Devices (HID) without I/O.

    descriptor = parse(data)                     # bytes -> reports and their fields
    for control in controls(descriptor):         # what usage tables have a name for
        read(control, source, payload)           # bytes of a report -> value

Sources: Device Class Definition for HID 1.11, HID Usage Tables 1.12, Usage Tables for
HID Power Devices 1.0, HID Point of Sale Usage Tables 1.02. See docs/protocols/hid.md.
"""

from busbar.codecs.hid.controls import MASSES, Control, Source, controls, read, write
from busbar.codecs.hid.descriptor import (
    DESCRIPTOR_LIMIT,
    REPORT_LIMIT,
    Collection,
    Kind,
    ReportDescriptor,
    ReportField,
    parse,
)
from busbar.codecs.hid.values import Scale, read_bits, scale, unit, write_bits

__all__ = [
    "DESCRIPTOR_LIMIT",
    "MASSES",
    "REPORT_LIMIT",
    "Collection",
    "Control",
    "Kind",
    "ReportDescriptor",
    "ReportField",
    "Scale",
    "Source",
    "controls",
    "parse",
    "read",
    "read_bits",
    "scale",
    "unit",
    "write",
    "write_bits",
]
