"""GCT, a protocol on 29-bit CAN identifiers, without I/O.

Source: docs/protocols/gct.md, 2 to 4.

    for id, data in encode(message): ...         # message -> frames
    message = Decoder().feed(id, data, time)     # frames -> messages
"""

from busbar.codecs.gct.ddp import V1_BYTES, V2_BYTES, Ddp
from busbar.codecs.gct.decoder import Decoder, speaks
from busbar.codecs.gct.messages import (
    BROADCAST,
    Heartbeat,
    Message,
    MonitoringData,
    MonitoringRequest,
    SysCtrl,
    encode,
)

__all__ = [
    "BROADCAST",
    "V1_BYTES",
    "V2_BYTES",
    "Ddp",
    "Decoder",
    "Heartbeat",
    "Message",
    "MonitoringData",
    "MonitoringRequest",
    "SysCtrl",
    "encode",
    "speaks",
]
