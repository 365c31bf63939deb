r"""Regular expressions in linear time: no input of a device can take long.

The usual syntax without what needs backtracking: literals, `.`, classes, `\d \s \w`,
groups (also named, also `(?:...)`), `|`, `* + ? {m,n}` (also lazy), `^` and `$`. A
pattern becomes states that go through the input side by side (Thompson 1968, Pike).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

PROGRAM_LIMIT = 2000  # instructions; each may cost a step for each character
STATES_LIMIT = 1000  # sets of states that are kept; beyond it they are made again

Wanted = Callable[[int], bool]
Saves = tuple[int, ...]


@dataclass
class Step:
    """One instruction."""

    kind: str  # char, split, save, begin, end, match
    wanted: Wanted | None = None
    to: tuple[int, ...] = ()  # targets of a split, in order of preference
    slot: int = 0


class Pattern:
    """A pattern; raise ValueError for what is none."""

    def __init__(self, text: str) -> None:
        parser = _Parser(text)
        self.text = text
        self.program = parser.program()
        self.groups = parser.count
        self.names = parser.names

    def search(self, text: str) -> list[str | None] | None:
        """Return the leftmost match and its groups, None if there is none."""
        found: Saves | None = None
        threads: list[tuple[int, Saves]] = []
        codes = [ord(character) for character in text]
        empty = (-1,) * (2 * self.groups + 2)
        for at in range(len(codes) + 1):
            seen: set[int] = {pc for pc, _ in threads}
            if found is None:
                self._add(threads, seen, 0, empty, at, len(codes))
            after: list[tuple[int, Saves]] = []
            seen = set()
            for pc, saves in threads:
                step = self.program[pc]
                if step.kind == "match":
                    found = saves
                    break
                if at < len(codes) and step.wanted and step.wanted(codes[at]):
                    self._add(after, seen, pc + 1, saves, at + 1, len(codes))
            threads = after
            if not threads and found is not None:
                break
        return None if found is None else self._taken(text, found)

    def _taken(self, text: str, saves: Saves) -> list[str | None]:
        groups: list[str | None] = []
        for start, end in zip(saves[::2], saves[1::2], strict=True):
            groups.append(text[start:end] if end >= 0 else None)
        return groups

    def _add(
        self,
        threads: list[tuple[int, Saves]],
        seen: set[int],
        pc: int,
        saves: Saves,
        at: int,
        size: int,
    ) -> None:
        """Add what can be reached without a character, the preferred first."""
        waiting = [(pc, saves)]
        while waiting:
            pc, saves = waiting.pop()
            if pc in seen:
                continue
            seen.add(pc)
            step = self.program[pc]
            if step.kind == "split":
                waiting += [(to, saves) for to in reversed(step.to)]
            elif step.kind == "save":
                slot = step.slot
                waiting.append((pc + 1, (*saves[:slot], at, *saves[slot + 1 :])))
            elif step.kind in ("begin", "end"):
                if at == (0 if step.kind == "begin" else size):
                    waiting.append((pc + 1, saves))
            else:
                threads.append((pc, saves))


class EndFinder:
    """Finds where a pattern first matches in a stream, one byte after the other."""

    def __init__(self, text: str) -> None:
        self._program = Pattern(text).program
        if any(step.kind == "end" for step in self._program):
            raise ValueError(f"{text!r}: a stream has no `$`")
        self._known: dict[tuple[frozenset[int], int], frozenset[int]] = {}
        self._again = self._closed({0}, at_begin=False)
        self._first = self._closed({0}, at_begin=True)
        if self._matches(self._first):
            raise ValueError(f"{text!r} matches nothing at all")
        self._state = self._first

    def restart(self) -> None:
        """Begin a frame."""
        self._state = self._first

    def find(self, data: bytes, at: int) -> int:
        """Return where the frame ends, -1 if it goes on."""
        state = self._state
        known = self._known
        for index in range(at, len(data)):
            after = known.get((state, data[index]))
            state = self._next(state, data[index]) if after is None else after
            if not state:  # the mark of a match
                self._state = self._first
                return index + 1
        self._state = state
        return -1

    def _next(self, state: frozenset[int], byte: int) -> frozenset[int]:
        if len(self._known) >= STATES_LIMIT:
            self._known.clear()
        found: set[int] = set()
        for pc in state:
            step = self._program[pc]
            if step.wanted and step.wanted(byte):
                found.add(pc + 1)
        after = self._closed(found, at_begin=False) | self._again
        if self._matches(after):
            after = frozenset()
        self._known[state, byte] = after
        return after

    def _matches(self, state: frozenset[int]) -> bool:
        return any(self._program[pc].kind == "match" for pc in state)

    def _closed(self, start: set[int], at_begin: bool) -> frozenset[int]:
        found: set[int] = set()
        waiting = list(start)
        while waiting:
            pc = waiting.pop()
            if pc in found:
                continue
            found.add(pc)
            step = self._program[pc]
            if step.kind == "split":
                waiting += step.to
            elif step.kind == "save" or (step.kind == "begin" and at_begin):
                waiting.append(pc + 1)
        return frozenset(found)


def _is_digit(code: int) -> bool:
    return 48 <= code <= 57


def _is_space(code: int) -> bool:
    return code in (32, 9, 10, 11, 12, 13)


def _is_word(code: int) -> bool:
    return _is_digit(code) or 65 <= code <= 90 or 97 <= code <= 122 or code == 95


def _not(wanted: Wanted) -> Wanted:
    return lambda code: not wanted(code)


def _one(code: int) -> Wanted:
    return lambda other: other == code


def _any(code: int) -> bool:
    return code != 10


_CLASSES: dict[str, Wanted] = {
    "d": _is_digit,
    "s": _is_space,
    "w": _is_word,
    "D": _not(_is_digit),
    "S": _not(_is_space),
    "W": _not(_is_word),
}
_CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "0": 0, "a": 7}
Code = list[Step]


class _Parser:
    """Recursive descent over the text of a pattern."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self.count = 0
        self.names: dict[str, int] = {}

    def program(self) -> Sequence[Step]:
        whole = self._alternatives()
        if self._at < len(self._text):
            raise self._wrong("a `)` without its `(`")
        ends = (Step("save", slot=0), Step("save", slot=1), Step("match"))
        relative = [ends[0], *whole, *ends[1:]]
        return [_placed(step, pc) for pc, step in enumerate(relative)]

    def _wrong(self, why: str) -> ValueError:
        return ValueError(f"{self._text!r} at {self._at}: {why}")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        if not character:
            raise self._wrong("it ends too early")
        self._at += 1
        return character

    def _alternatives(self) -> Code:
        code = self._sequence()
        while self._peek() == "|":
            self._take()
            other = self._sequence()
            code = [_split(1, len(code) + 2), *code, _jump(len(other) + 1), *other]
        return code

    def _sequence(self) -> Code:
        code: Code = []
        while self._peek() not in ("", "|", ")"):
            code += self._repeated(self._atom())
            if len(code) > PROGRAM_LIMIT:
                raise self._wrong("it is too large")
        return code

    def _repeated(self, code: Code) -> Code:
        times = self._times()
        if times is None:
            return code
        least, most = times
        lazy = self._peek() == "?"
        if lazy:
            self._take()
        if (most or least + 1) * (len(code) + 2) > PROGRAM_LIMIT:
            raise self._wrong("it is too large")
        repeated = code * least
        if most is None:
            return repeated + _star(code, lazy)
        for _ in range(most - least):
            repeated += [_split(1, len(code) + 1, lazy), *code]
        return repeated

    def _times(self) -> tuple[int, int | None] | None:
        character = self._peek()
        if character in ("*", "+", "?") and character:
            self._take()
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[character]
        if character != "{":
            return None
        inside, closed, _ = self._text[self._at + 1 :].partition("}")
        least, comma, most = inside.partition(",")
        wanted = least.isdecimal() and (most.isdecimal() or not most)
        if not closed or not wanted or len(inside) > 9:
            raise self._wrong("a repetition is {m}, {m,} or {m,n}")
        self._at += len(inside) + 2
        if not comma:
            return int(least), int(least)
        if most and int(most) < int(least):
            raise self._wrong("{m,n} with n below m")
        return int(least), int(most) if most else None

    def _atom(self) -> Code:
        character = self._take()
        if character == "(":
            return self._group()
        if character == "[":
            return [Step("char", self._class())]
        if character == ".":
            return [Step("char", _any)]
        if character in "^$":
            return [Step("begin" if character == "^" else "end")]
        if character in "*+?{":
            raise self._wrong(f"nothing before `{character}`")
        if character == "\\":
            return [Step("char", self._escape())]
        return [Step("char", _one(ord(character)))]

    def _group(self) -> Code:
        self._depth += 1
        if self._depth > 50:
            raise self._wrong("groups are nested too deeply")
        number: int | None = None
        if self._text.startswith("?:", self._at):
            self._at += 2
        else:
            self.count += 1
            number = self.count
            self._name(number)
        code = self._alternatives()
        if self._peek() != ")":
            raise self._wrong("a `(` without its `)`")
        self._take()
        self._depth -= 1
        if number is None:
            return code
        begin = Step("save", slot=2 * number)
        return [begin, *code, Step("save", slot=2 * number + 1)]

    def _name(self, number: int) -> None:
        if self._peek() != "?":
            return
        name, closed, _ = self._text[self._at :].partition(">")
        word = name.removeprefix("?P<")
        if not name.startswith("?P<") or not closed or not word.isidentifier():
            allowed = "(...), (?:...), (?P<name>...)"
            raise self._wrong(f"no group of this kind; allowed: {allowed}")
        if word in self.names:
            raise self._wrong(f"two groups named {word!r}")
        self._at += len(name) + 1
        self.names[word] = number

    def _escape(self) -> Wanted:
        letter = self._take()
        if letter in _CLASSES:
            return _CLASSES[letter]
        return _one(self._code(letter))

    def _code(self, letter: str) -> int:
        """Return the character that a letter behind a backslash stands for."""
        if letter == "x":
            digits = self._text[self._at : self._at + 2]
            try:
                code = int(digits, 16)
            except ValueError:
                raise self._wrong("\\x wants two hex digits") from None
            self._at += 2
            return code
        if letter in _CONTROLS:
            return _CONTROLS[letter]
        if letter.isalnum():
            allowed = "\\d \\s \\w \\D \\S \\W \\n \\r \\t \\xNN"
            raise self._wrong(f"no escape \\{letter}; allowed: {allowed}")
        return ord(letter)

    def _class(self) -> Wanted:
        negated = self._peek() == "^"
        if negated:
            self._take()
        members: list[Wanted] = []
        first = True
        while first or self._peek() != "]":
            members.append(self._member())
            first = False
        self._take()

        def wanted(code: int) -> bool:
            return any(each(code) for each in members) != negated

        return wanted

    def _member(self) -> Wanted:
        character = self._take()
        if character == "\\":
            letter = self._take()
            if letter in _CLASSES:
                return _CLASSES[letter]
            low = self._code(letter)
        else:
            low = ord(character)
        ahead = self._text[self._at : self._at + 2]
        if not ahead.startswith("-") or ahead == "-]" or len(ahead) < 2:
            return _one(low)
        self._take()
        last = self._take()
        high = self._code(self._take()) if last == "\\" else ord(last)
        if high < low:
            raise self._wrong("a range whose end is before its start")
        return lambda code: low <= code <= high


def _placed(step: Step, pc: int) -> Step:
    """Return a step whose targets are no longer relative to its own place."""
    to = tuple(pc + distance for distance in step.to)
    return Step(step.kind, step.wanted, to, step.slot)


def _split(first: int, second: int, swapped: bool = False) -> Step:
    return Step("split", to=(second, first) if swapped else (first, second))


def _jump(to: int) -> Step:
    return Step("split", to=(to,))


def _star(code: Code, lazy: bool) -> Code:
    return [_split(1, len(code) + 2, lazy), *code, _jump(-len(code) - 1)]
