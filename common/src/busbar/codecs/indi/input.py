"""Bytes that have come and were not read yet, and searches in them."""

import re

_OVERLAP = 40  # bytes; the longest match of a pattern that is searched is shorter
_BLANK = re.compile(rb"\s*+(<!--)?+")
_NOWHERE = (0, 0)
_COMMENT_END = re.compile(rb"-->")


class Input:
    """Buffer that grows at its end; what was read is taken off its beginning.

    A search that is repeated, further on or after more has come, looks at no byte
    twice: thousands of start tags without an end cost no more than other bytes.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self._taken = 0  # bytes before the first of `data`
        # by pattern: no match begins from the first place to the second
        self._empty: dict[re.Pattern[bytes], tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.data)

    def take(self, count: int) -> None:
        """Forget so many bytes at the beginning."""
        del self.data[:count]
        self._taken += count

    def search(self, pattern: re.Pattern[bytes], start: int) -> re.Match[bytes] | None:
        """Return the first match from a place on."""
        taken = self._taken
        first, last = self._empty.get(pattern, _NOWHERE)
        if first <= start + taken <= last:
            start = last - taken
        else:
            first = start + taken
        found = pattern.search(self.data, start)
        last = max(start, len(self.data) - _OVERLAP)
        if found is not None:
            last = found.start()
        self._empty[pattern] = (first, last + taken)
        return found

    def skip_space(self, start: int) -> int:
        """Return where white space and whole comments end."""
        while True:
            blank = _BLANK.match(self.data, start)
            assert blank is not None  # it matches nothing, too
            if blank[1] is None:
                return blank.end()
            end = self.search(_COMMENT_END, blank.end())
            if end is None:
                return blank.start(1)
            start = end.end()
