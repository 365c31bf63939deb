"""SCPI parser of the simulated instruments: headers, arguments, errors, status.

Sources: SCPI-1999 volume 1, 6.2 (headers, paths), volume 2, 21.8 (error queue); IEEE
488.2, 10 and 11.5 (status).
"""

import random
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NoReturn

from busbar.codecs.ieee488 import quote_string

ERRORS = {
    0: "No error",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -131: "Invalid suffix",
    -221: "Settings conflict",
    -222: "Data out of range",
    -350: "Queue overflow",
    -363: "Input buffer overrun",
}
ERROR_QUEUE = 20  # entries, as in common bench instruments

# bits of the event status register
_OPERATION_COMPLETE = 1
_POWER_ON = 128
# hundreds of the error number -> its bit there
_ERROR_CLASS = {1: 32, 2: 16, 3: 8, 4: 4}
_UNITS = re.compile(r"""(?:"[^"]*"|'[^']*'|[^;])+""")
_NUMBER = re.compile(
    r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:E[+-]?\d+)?)\s*([A-Z]*)", re.ASCII
)
_NOTATION = str.maketrans({"[": "(?:", "]": ")?", "#": r"(\d{0,3})", "*": r"\*"})


class Refused(Exception):
    """A refused command, with the number for the error queue."""

    def __init__(self, number: int) -> None:
        super().__init__(ERRORS[number])
        self.number = number


def undefined(suffix: int, arguments: list[str]) -> NoReturn:
    """Refuse the half that a header does not have, its query or its command."""
    raise Refused(-113)


@dataclass(frozen=True)
class Header:
    """Query and command of a header.

    Each takes the numeric suffix (1 if there is none) and the arguments.
    """

    query: Callable[[int, list[str]], str | bytes] = undefined
    write: Callable[[int, list[str]], None] = undefined


@dataclass(frozen=True)
class Number:
    """A number within limits; MINimum, MAXimum and DEFault stand for them."""

    low: float
    high: float
    default: float
    unit: str = ""
    places: int = 4

    def parse(self, text: str) -> float:
        names = {"MIN": self.low, "MAX": self.high, "DEF": self.default}
        word = re.sub("^(MIN|MAX)IMUM$|^(DEF)AULT$", r"\1\2", text.upper())
        value = names[word] if word in names else self._literal(word)
        if not self.low <= value <= self.high:
            raise Refused(-222)
        return value

    def format(self, value: float) -> str:
        return f"{value:.{self.places}f}"

    def _literal(self, word: str) -> float:
        match = _NUMBER.fullmatch(word)
        if match is None:
            raise Refused(-104)
        scale = {"": 1.0, self.unit: 1.0, f"M{self.unit}": 1e-3}.get(match[2])
        if scale is None:
            raise Refused(-131)
        return float(match[1]) * scale


class Boolean(Number):
    """ON, OFF or a number, of which 0 is off."""

    def parse(self, text: str) -> float:
        names = {"ON": True, "OFF": False}
        word = text.upper()
        if word in names:
            return names[word]
        return bool(super().parse(text))


def count(arguments: list[str], least: int, most: int | None = None) -> None:
    """Refuse fewer than `least` arguments and more than `most` (default: `least`)."""
    if len(arguments) < least:
        raise Refused(-109)
    if most is None:
        most = least
    if len(arguments) > most:
        raise Refused(-108)


def answer(read: Callable[[int], str | bytes]) -> Header:
    """Return a query without arguments."""

    def query(suffix: int, arguments: list[str]) -> str | bytes:
        count(arguments, 0)
        return read(suffix)

    return Header(query=query)


def action(run: Callable[[int], None]) -> Header:
    """Return a command without arguments."""

    def write(suffix: int, arguments: list[str]) -> None:
        count(arguments, 0)
        run(suffix)

    return Header(write=write)


def setting(subject: Callable[[int], object], name: str, number: Number) -> Header:
    """Return a set point.

    Command with one argument, query that also answers MIN, MAX and DEF.
    """

    def query(suffix: int, arguments: list[str]) -> str:
        count(arguments, 0, 1)
        if arguments:
            return number.format(number.parse(arguments[0]))
        return number.format(getattr(subject(suffix), name))

    def write(suffix: int, arguments: list[str]) -> None:
        count(arguments, 1)
        setattr(subject(suffix), name, number.parse(arguments[0]))

    return Header(query, write)


class Instrument:
    """The half that all instruments share: headers, error queue, status.

    One line in, its answers out.
    """

    model: ClassVar[str]
    sign: ClassVar[str] = ""  # "+" where numbers of the error queue always carry one

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.errors: deque[int] = deque()
        self.events = _POWER_ON
        self.enabled = 0.0  # *ESE
        headers = self._common() | self.headers()
        self._headers = {_pattern(each): header for each, header in headers.items()}

    def headers(self) -> dict[str, Header]:
        """Return the headers of this model in SCPI notation.

        [optional], SHORTlong, `#` for the numeric suffix.
        """
        raise NotImplementedError

    def reset(self) -> None:
        """Carry out *RST."""
        raise NotImplementedError

    def settle(self) -> None:
        """Let the circuit react to what has changed."""
        raise NotImplementedError

    def execute(self, line: str) -> bytes | None:
        """Carry out one line; return its answers without terminator, None if none."""
        answers: list[bytes] = []
        path = ""
        for unit in filter(None, map(str.strip, _UNITS.findall(line))):
            word, *rest = unit.split(None, 1)
            name = word.upper() if word[0] in ":*" else path + word.upper()
            path = path if name[0] == "*" else name[: name.rfind(":") + 1]
            try:
                self._carry_out(name, rest, answers)
            except Refused as error:
                self.report(error.number)
                # after a command error the rest of the line has no meaning
                if error.number > -200:
                    break
        return b";".join(answers) if answers else None

    def report(self, number: int) -> None:
        """Put an error into the queue and into the event status."""
        if len(self.errors) == ERROR_QUEUE:
            self.errors.pop()
            number = -350
        self.events |= _ERROR_CLASS[-number // 100]
        self.errors.append(number)

    def noisy(self, value: float) -> float:
        """Return a reading of `value`: within 0.1 % and half a thousandth."""
        gain = 1 + self.random.uniform(-1e-3, 1e-3)
        return value * gain + self.random.uniform(-5e-4, 5e-4)

    def _carry_out(self, name: str, rest: list[str], answers: list[bytes]) -> None:
        header, suffix = self._find(name.removeprefix(":").removesuffix("?"))
        arguments: list[str] = []
        if rest:
            arguments = [argument.strip() for argument in rest[0].split(",")]
        self.settle()
        if name.endswith("?"):
            result = header.query(suffix, arguments)
            if isinstance(result, str):
                result = result.encode("ascii")
            answers.append(result)
        else:
            header.write(suffix, arguments)
        self.settle()

    def _find(self, name: str) -> tuple[Header, int]:
        for pattern, header in self._headers.items():
            match = pattern.fullmatch(name)
            if match:
                suffix = next(filter(None, match.groups()), 1)
                return header, int(suffix)
        raise Refused(-113)

    def _common(self) -> dict[str, Header]:
        return {
            "*IDN": answer(lambda _: self.model),
            "*RST": action(lambda _: self.reset()),
            "*CLS": action(lambda _: self._clear()),
            "*OPC": Header(
                answer(lambda _: "1").query, action(lambda _: self._complete()).write
            ),
            "*WAI": action(lambda _: None),
            "*TST": answer(lambda _: "0"),
            "*ESR": answer(lambda _: self._take_events()),
            "*ESE": setting(lambda _: self, "enabled", Number(0, 255, 0, places=0)),
            "*STB": answer(lambda _: self._status_byte()),
            "SYSTem:ERRor[:NEXT]": answer(lambda _: self._next_error()),
            "SYSTem:ERRor:COUNt": answer(lambda _: str(len(self.errors))),
        }

    def _status_byte(self) -> str:
        enabled = self.events & int(self.enabled)
        return str(4 * bool(self.errors) + 32 * bool(enabled))

    def _clear(self) -> None:
        self.errors.clear()
        self.events = 0

    def _complete(self) -> None:
        self.events |= _OPERATION_COMPLETE

    def _take_events(self) -> str:
        events = self.events
        self.events = 0
        return str(events)

    def _next_error(self) -> str:
        number = self.errors.popleft() if self.errors else 0
        return f"{number:{self.sign}d},{quote_string(ERRORS[number])}"


def _pattern(notation: str) -> re.Pattern[str]:
    """Return what matches a header in its long and its short form."""
    pattern = notation.translate(_NOTATION)
    return re.compile(re.sub(r"([A-Z]+)([a-z]+)", _both_forms, pattern))


def _both_forms(word: re.Match[str]) -> str:
    return f"{word[1]}(?:{word[2].upper()})?"
