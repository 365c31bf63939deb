"""The text of an element: UTF-8, else Latin-1.

The five entities of XML and numbers of characters.
"""

import re

_REFERENCE = re.compile(r"&(?:#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}))|(\w{1,8}));|&")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


class Text:
    """Reads text and counts what was not as it should be.

    The one place where a Reader counts.
    """

    def __init__(self) -> None:
        self.latin1 = 0  # texts that were not UTF-8
        self.errors = 0  # things that cost an element or were repaired

    def decode(self, data: bytes) -> str:
        """Return the text of one element.

        Source: reference 3.5, indiserver passes bytes through.
        """
        try:
            return data.decode()
        except UnicodeDecodeError:
            self.latin1 += 1
            return data.decode("latin-1")

    def plain(self, text: str) -> str:
        """Return a value without references; an `&` that is none is taken as it is."""
        if "&" not in text:
            return text
        before = self.errors
        plain = _REFERENCE.sub(self._character, text)
        self.errors = min(self.errors, before + 1)
        return plain

    def _character(self, found: re.Match[str]) -> str:
        hexadecimal, decimal, name = found.groups()
        if name in _ENTITIES:
            return _ENTITIES[name]
        code = int(hexadecimal, 16) if hexadecimal else int(decimal) if decimal else -1
        if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000:
            return chr(code)
        self.errors += 1
        return found[0]
