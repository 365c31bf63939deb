"""Numbers and times as INDI writes them.

Source: INDI 1.7, "Numbers" and "Timestamps"; `fs_sexa` of the C library.
"""

import math
import re
from datetime import UTC, datetime

_SEXAGESIMAL = re.compile(
    r"([+-]?)\s*(\d+(?:\.\d*)?|\.\d+)(?:[:; ]+(\d+(?:\.\d*)?))?(?:[:; "
    r"]+(\d+(?:\.\d*)?))?"
)
_SEXA_FORMAT = re.compile(r"%(-?)(\d{0,3})\.(\d{1,2})m", re.ASCII)
_PRINTF = re.compile(r"%[-+ 0#]*\d{0,3}(?:\.\d{1,2})?[diouxXeEfFgG]")
_PARTS = {3: 60, 5: 600, 6: 3600}  # digits behind the point of a format -> parts of one
_LARGEST = 1e15  # that is written in parts: more has none
_LAST = 253402300800.0  # Unix time (s) of the year 10000
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?")


def parse_number(text: str) -> float:
    """Return a number, sexagesimal ones with `:`, `;` or spaces, too; raise ValueError."""
    if "_" not in text:
        try:
            return float(text)
        except ValueError:
            pass
    found = _SEXAGESIMAL.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a number")
    sign, *parts = found.groups()
    value: float = sum(
        float(part or 0) / 60.0**place for place, part in enumerate(parts)
    )
    return -value if sign == "-" else value


def is_sexagesimal(format: str) -> bool:
    return _SEXA_FORMAT.fullmatch(format.strip()) is not None


def format_number(value: float, format: str) -> str:
    """Return a number as its format wants it.

    printf's, or `%<w>.<f>m` with f = 3 :mm, 5 :mm.m, 6 :mm:ss and so on.

    Any other f is taken as 3, a format that cannot be used as %g.
    """
    sexagesimal = _SEXA_FORMAT.fullmatch(format.strip())
    if not math.isfinite(value):
        return f"{value:g}"
    if sexagesimal is not None and abs(value) < _LARGEST:
        left, width, digits = sexagesimal.groups()
        text, wide = _sexagesimal(value, int(digits)), min(int(width or 0), 40)
        return text.ljust(wide) if left else text.rjust(wide)
    found = _PRINTF.search(format)
    if found is None or format.count("%") - 2 * format.count("%%") != 1:
        return f"{value:g}"
    number = int(value) if found[0][-1] in "diouxX" else value
    try:
        return str(format % number)
    except (ValueError, TypeError):  # there is more that begins with "%"
        return f"{value:g}"


def _sexagesimal(value: float, digits: int) -> str:
    """Source.

    `fs_sexa` and `numberFormat` of the C library: the digits are the characters behind
    the whole part.
    """
    parts = 3600 * 10 ** (digits - 7) if 8 <= digits <= 14 else _PARTS.get(digits, 60)
    whole, rest = divmod(round(abs(value) * parts), parts)
    minutes, rest = divmod(rest, parts // 60)
    text = f"{'-' if value < 0 and (whole or minutes or rest) else ''}{whole}:{minutes:02d}"
    if parts <= 600:
        return f"{text}.{rest}" if parts == 600 else text
    seconds, fraction = divmod(rest, parts // 3600)
    return f"{text}:{seconds:02d}" + (
        f".{fraction:0{digits - 7}d}" if digits > 7 else ""
    )


def parse_time(text: str) -> float | None:
    """Return the Unix time (s) of a timestamp, which is UTC; None if it is none."""
    if not _TIME.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
    return time if time < _LAST else None  # the last microsecond is rounded up


def format_time(time: float) -> str:
    """Return the timestamp of a Unix time (s), with milliseconds where it has any.

    Raise ValueError.
    """
    if not abs(time) < _LAST:
        raise ValueError(f"{time:g} is no Unix time (s) up to the year 9999")
    moment = datetime.fromtimestamp(round(time, 3), UTC).replace(tzinfo=None)
    return moment.isoformat(
        timespec="milliseconds" if moment.microsecond else "seconds"
    )
