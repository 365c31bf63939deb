"""Text of an element: UTF-8 or Latin-1, references to characters, a count of faults."""

import re

_REFERENCE = re.compile(r"&(?:#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}))|(\w{1,8}));|&")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


class TextDecoder:
    """Decodes text and counts what had to be repaired.

    An ElementReader counts here and nowhere else.
    """

    def __init__(self) -> None:
        self.latin1 = 0  # texts that were not UTF-8
        self.errors = 0  # faults that cost an element or were repaired

    def decode(self, data: bytes | bytearray) -> str:
        """Return the text of one element: UTF-8, else Latin-1.

        Source: docs/protocols/indi.md, 4.5 (indiserver passes bytes through).
        """
        try:
            return data.decode()
        except UnicodeDecodeError:
            self.latin1 += 1
            return data.decode("latin-1")

    def resolve(self, text: str) -> str:
        """Return a value with its references resolved; a stray `&` stays as it is."""
        if "&" not in text:
            return text
        before = self.errors
        resolved = _REFERENCE.sub(self._character, text)
        self.errors = min(self.errors, before + 1)
        return resolved

    def _character(self, found: re.Match[str]) -> str:
        hexadecimal, decimal, name = found.groups()
        if name in _ENTITIES:
            return _ENTITIES[name]
        code = 0
        if hexadecimal:
            code = int(hexadecimal, 16)
        elif decimal:
            code = int(decimal)
        if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000:
            return chr(code)
        self.errors += 1
        return found[0]
