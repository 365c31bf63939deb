"""What sigrok-cli writes, without I/O: captures, descriptions, annotations, its log.

    capture = read(data, limit=64 << 20)          # srzip -> samples
    capture.bits("D0")                            # 0 or 1 for each sample
    vcd(capture)                                  # -> a value change dump

Source: docs/protocols/instruments.md, 11.
"""

from busbar.codecs.sigrok.annotations import Annotation, AnnotationReader
from busbar.codecs.sigrok.described import (
    DeviceOptions,
    FoundDevice,
    Option,
    parse_frequency,
    parse_scan,
    parse_show,
    parse_value,
)
from busbar.codecs.sigrok.progress import ProgressLog
from busbar.codecs.sigrok.srzip import Capture, read
from busbar.codecs.sigrok.vcd import vcd

__all__ = [
    "Annotation",
    "AnnotationReader",
    "Capture",
    "DeviceOptions",
    "FoundDevice",
    "Option",
    "ProgressLog",
    "parse_frequency",
    "parse_scan",
    "parse_show",
    "parse_value",
    "read",
    "vcd",
]
