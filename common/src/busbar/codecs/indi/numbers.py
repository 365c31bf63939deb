"""Numbers and times as INDI writes them.

Source: INDI 1.7, "Numbers" and "Timestamps"; `fs_sexa` of the C library;
docs/protocols/indi.md, 2.1.
"""

import math
import re
from datetime import UTC, datetime

from busbar.errors import ProtocolError

_LONGEST = 400  # characters of a number; one of 64 bits in full has 310 and a fraction
_BLANKS = " \t\r\n"
_SEXAGESIMAL = re.compile(
    r"([+-]?)[ \t]*(\d+(?:\.\d*)?|\.\d+)"
    r"(?:[:; ]+(\d+(?:\.\d*)?))?"
    r"(?:[:; ]+(\d+(?:\.\d*)?))?",
    re.ASCII,
)
_SEXA_FORMAT = re.compile(r"%(-?)(\d{0,3})\.(\d{1,2})m", re.ASCII)
_PRINTF = re.compile(
    r"%[-+ 0#]*+(?:[1-9]\d{0,2})?(?:\.\d{1,2})?[diouxXeEfFgG]", re.ASCII
)
_INTEGERS = "diouxX"  # conversions that take an integer
# digits of a sexagesimal format -> the parts of one that it shows
_PARTS = {
    3: 60,
    5: 600,
    6: 3600,
    **{digits: 3600 * 10 ** (digits - 7) for digits in range(8, 15)},
}
_WIDEST = 40  # characters of a sexagesimal number
_LARGEST = 1e15  # a number above it has no parts left in a double
_LAST = 253402300800.0  # Unix time (s) of the year 10000
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?", re.ASCII)


def parse_number(text: str) -> float:
    """Return a decimal or sexagesimal number; raise ProtocolError.

    The parts of a sexagesimal number are separated by `:`, `;` or blanks.
    """
    value = decimal(text)
    if value is not None:
        return value
    found = _SEXAGESIMAL.fullmatch(text.strip(_BLANKS)[: _LONGEST + 1])
    if found is None or found.end() > _LONGEST:
        raise ProtocolError(f"{text[:40]!r} is not a number")
    sign, whole, minutes, seconds = found.groups()
    value = float(whole) + float(minutes or 0) / 60 + float(seconds or 0) / 3600
    return -value if sign == "-" else value


def decimal(text: str) -> float | None:
    """Return a decimal number, None for any other text."""
    word = text.strip(_BLANKS)
    # float() reads digits of any alphabet, underscores between them, "\v" behind them
    plain = word.isascii() and word.isprintable() and "_" not in word
    if len(word) > _LONGEST or not plain:
        return None
    try:
        return float(word)
    except ValueError:
        return None


def is_sexagesimal(format: str) -> bool:
    return _SEXA_FORMAT.fullmatch(format.strip()) is not None


def format_number(value: float, format: str) -> str:
    """Return a number in the form that its format asks for.

    The format is one of printf, or `%<w>.<f>m` with f = 3 for :mm, 5 for :mm.m, 6 for
    :mm:ss and so on. Any other f is taken as 3, an unusable format as %g.
    """
    sexagesimal = _SEXA_FORMAT.fullmatch(format.strip())
    if not math.isfinite(value):
        return f"{value:g}"
    if sexagesimal is None or abs(value) >= _LARGEST:
        return _printf(value, format)
    left, width, digits = sexagesimal.groups()
    text = _sexagesimal(value, int(digits))
    columns = min(int(width or 0), _WIDEST)
    return text.ljust(columns) if left else text.rjust(columns)


def _printf(value: float, format: str) -> str:
    found = _PRINTF.search(format)
    if found is None or format.count("%") - 2 * format.count("%%") != 1:
        return f"{value:g}"
    number: float = value
    if found[0][-1] in _INTEGERS:
        number = int(value)
    try:
        return str(format % number)
    except (ValueError, TypeError):  # there is more that begins with "%"
        return f"{value:g}"


def _sexagesimal(value: float, digits: int) -> str:
    """Return a number in sexagesimal form without padding.

    `digits` counts the characters behind the whole part, as `fs_sexa` and
    `numberFormat` of the C library do.
    """
    parts = _PARTS.get(digits, 60)
    total = round(abs(value) * parts)
    whole, rest = divmod(total, parts)
    minutes, rest = divmod(rest, parts // 60)
    sign = "-" if value < 0 and total else ""
    text = f"{sign}{whole}:{minutes:02d}"
    if parts == 60:
        return text
    if parts == 600:
        return f"{text}.{rest}"
    seconds, fraction = divmod(rest, parts // 3600)
    text = f"{text}:{seconds:02d}"
    if parts == 3600:
        return text
    return f"{text}.{fraction:0{digits - 7}d}"


def parse_time(text: str) -> float | None:
    """Return the Unix time (s) of a UTC timestamp; None if it is not one."""
    if not _TIME.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
    return time if time < _LAST else None  # the last microsecond is rounded up


def format_time(time: float) -> str:
    """Return the timestamp of a Unix time (s), with milliseconds if it has any.

    Raise ValueError.
    """
    if not abs(time) < _LAST:
        raise ValueError(f"{time:g} is no Unix time (s) up to the year 9999")
    moment = datetime.fromtimestamp(round(time, 3), UTC).replace(tzinfo=None)
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=precision)
