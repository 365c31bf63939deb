"""Serial Line IP framing. Source: RFC 1055."""

import re

from busbar.codecs.framing.base import Separated

END = b"\xc0"
ESC = b"\xdb"
ESC_END = b"\xdb\xdc"
ESC_ESC = b"\xdb\xdd"
_BAD = re.compile(rb"\xdb(?![\xdc\xdd])")
_ESCAPED = re.compile(rb"\xdb[\xdc\xdd]")


class Slip(Separated):
    """Frames between END bytes; empty ones are none."""

    separator = END

    def encode(self, payload: bytes) -> bytes:
        stuffed = payload.replace(ESC, ESC_ESC).replace(END, ESC_END)
        return END + stuffed + END

    def _raw_limit(self) -> int:
        return 2 * self.limit

    def _decode(self, piece: bytes) -> bytes | None:
        if not piece:
            return None
        if _BAD.search(piece):
            self._refuse(f"no SLIP: {piece[:20].hex(' ')}")
            return None
        return _ESCAPED.sub(lambda found: _PLAIN[found[0]], piece)


_PLAIN = {ESC_END: END, ESC_ESC: ESC}
