"""Bytes that have come and were not read yet, and searches in them."""

import re

_OVERLAP = 40  # bytes; the longest match of a pattern that is searched is shorter
_BLANK = re.compile(rb"\s*+")
_COMMENT_START = b"<!--"
_COMMENT_END = re.compile(rb"-->")


class Input:
    """Buffer that grows at its end; what was read is taken off its beginning.

    A search that is repeated, further on or after more has come, looks at no byte
    twice: thousands of start tags without an end cost as much as as many bytes.
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

    def cut(self, start: int, end: int) -> bytes:
        """Return a part."""
        with memoryview(self.data) as view:
            return bytes(view[start:end])

    def search(self, pattern: re.Pattern[bytes], start: int) -> re.Match[bytes] | None:
        """Return the first match from a place on."""
        first, last = self._empty.get(pattern, (0, 0))
        begin = start
        if first <= start + self._taken <= last:
            begin = last - self._taken
        else:
            first = start + self._taken
        found = pattern.search(self.data, begin)
        end = max(begin, len(self.data) - _OVERLAP)
        if found is not None:
            end = found.start()
        self._empty[pattern] = (first, end + self._taken)
        return found

    def skip_space(self, start: int) -> int:
        """Return where white space and whole comments end."""
        while True:
            blank = _BLANK.match(self.data, start)
            assert blank is not None  # it matches nothing, too
            start = blank.end()
            if not self.data.startswith(_COMMENT_START, start):
                return start
            end = self.search(_COMMENT_END, start + len(_COMMENT_START))
            if end is None:
                return start
            start = end.end()
