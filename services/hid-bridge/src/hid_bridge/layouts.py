"""Keyboard layouts: which character a key gives, without and with Shift.

Codes are those of linux/input-event-codes.h. Source: docs/protocols/hid.md, 7.
"""

from collections.abc import Mapping

ENTER, KP_ENTER = 28, 96
TAB = 15
SHIFTS = (42, 54)
CAPS_LOCK = 58
ENDS = {"enter": (ENTER, KP_ENTER), "tab": (TAB,)}

Keys = Mapping[int, tuple[str, str]]


def _letters(first: int, letters: str) -> dict[int, tuple[str, str]]:
    keys = enumerate(letters, first)
    return {code: (letter, letter.upper()) for code, letter in keys}


def _pairs(first: int, plain: str, shifted: str) -> dict[int, tuple[str, str]]:
    return {
        first + index: pair
        for index, pair in enumerate(zip(plain, shifted, strict=True))
    }


_PAD = {
    **_pairs(71, "789-456+1230.", "789-456+1230."),
    55: ("*", "*"),
    98: ("/", "/"),
    57: (" ", " "),
}
_US: Keys = {
    **_PAD,
    **_pairs(2, "1234567890-=", "!@#$%^&*()_+"),
    **_letters(16, "qwertyuiop"),
    **_pairs(26, "[]", "{}"),
    **_letters(30, "asdfghjkl"),
    **_pairs(39, ";'`", ':"~'),
    **_pairs(43, "\\", "|"),
    **_letters(44, "zxcvbnm"),
    **_pairs(51, ",./", "<>?"),
}
_DE: Keys = {
    **_PAD,
    **_pairs(2, "1234567890ß\N{ACUTE ACCENT}", '!"§$%&/()=?`'),
    **_letters(16, "qwertzuiopü"),
    **_pairs(27, "+", "*"),
    **_letters(30, "asdfghjklöä"),
    **_pairs(41, "^", "°"),
    **_pairs(43, "#", "'"),
    **_letters(44, "yxcvbnm"),
    **_pairs(51, ",.-", ";:_"),
    **_pairs(86, "<", ">"),
    83: (",", ","),
}
_FR: Keys = {
    **_PAD,
    **_pairs(2, "&é\"'(-è_çà)=", "1234567890°+"),
    **_letters(16, "azertyuiop"),
    **_pairs(26, "^$", "¨£"),
    **_letters(30, "qsdfghjklm"),
    **_pairs(40, "ù²", "%~"),
    **_pairs(43, "*", "µ"),
    **_letters(44, "wxcvbn"),
    **_pairs(50, ",;:!", "?./§"),
    **_pairs(86, "<", ">"),
}
LAYOUTS: Mapping[str, Keys] = {"us": _US, "de": _DE, "fr": _FR}


class LineReader:
    """Makes lines of the keys of a keyboard."""

    def __init__(self, layout: str, end: str, limit: int) -> None:
        self._keys = LAYOUTS[layout]
        self._ends = ENDS[end]
        self._limit = limit  # characters of a line; more are dropped and said
        self._shifts: set[int] = set()
        self._capitals = False
        self._text: list[str] = []
        self._complete = True

    def lost(self) -> None:
        """Take note that events are missing: the line is not complete."""
        self._complete = False
        self._shifts.clear()

    def key(self, code: int, value: int) -> tuple[str, bool] | None:
        """Take a key; return a line and whether it is complete, once it ends."""
        if code in SHIFTS:
            self._shift(code, value != 0)
        elif value != 1:
            return None  # up, or held down
        elif code in self._ends:
            return self.take()
        elif code == CAPS_LOCK:
            self._capitals = not self._capitals
        elif code in self._keys:
            self._add(self._keys[code])
        return None

    def take(self) -> tuple[str, bool] | None:
        """Return what has come so far; None: nothing."""
        text, complete = "".join(self._text), self._complete
        self._text = []
        self._complete = True
        return (text, complete) if text or not complete else None

    @property
    def waiting(self) -> bool:
        """Whether a line has begun."""
        return bool(self._text) or not self._complete

    def _shift(self, code: int, down: bool) -> None:
        if down:
            self._shifts.add(code)
        else:
            self._shifts.discard(code)

    def _add(self, key: tuple[str, str]) -> None:
        if len(self._text) >= self._limit:
            self._complete = False
            return
        shifted = bool(self._shifts)
        if self._capitals and key[0].isalpha():
            shifted = not shifted
        self._text.append(key[shifted])
