"""Making state and info fit into a message: what fits is published, the rest counted.

Source: docs/contract.md, 3.
"""

import bisect
from collections.abc import Callable, Sequence
from itertools import islice

import msgspec
from msgspec import UNSET

from busbar.contract import messages
from busbar.contract.messages import Info, State


def fit(snapshot: State, room: int) -> tuple[bytes, int]:
    """Return the payload, at most `room` bytes, and how many properties it lacks.

    The largest are left out first.
    """
    payload = messages.encode(snapshot)
    if len(payload) <= room:
        return payload, 0
    snapshot = msgspec.structs.replace(snapshot, times=UNSET)
    paths = snapshot.values.keys() | snapshot.bad.keys()
    largest = sorted(paths, key=lambda path: (-_size(snapshot, path), path))

    def encoded(left_out: int) -> bytes:
        return messages.encode(_without(snapshot, largest[:left_out]))

    return _fewest(len(largest), encoded, room)


def fit_info(info: Info, room: int) -> bytes:
    """Return the payload, at most `room` bytes.

    The last properties are left out if need be, and counted.
    """

    def encoded(left_out: int) -> bytes:
        return messages.encode(_describing_less(info, left_out))

    payload, _ = _fewest(len(info.properties), encoded, room)
    return payload


def _fewest(most: int, encoded: Callable[[int], bytes], room: int) -> tuple[bytes, int]:
    """Leave out as few as possible; as a rule that is nothing, and takes one look."""
    payload = encoded(0)
    if len(payload) <= room:
        return payload, 0

    def fits(count: int) -> bool:
        return len(encoded(count)) <= room

    fewest = 1 + bisect.bisect_left(range(1, most), x=True, key=fits)
    count = min(most, fewest)
    return encoded(count), count


def _size(snapshot: State, path: str) -> int:
    return len(messages.encode([snapshot.values.get(path), snapshot.bad.get(path)]))


def _without(snapshot: State, paths: Sequence[str]) -> State:
    values = dict(snapshot.values)
    bad = dict(snapshot.bad)
    for path in paths:
        values.pop(path, None)
        bad.pop(path, None)
    return msgspec.structs.replace(snapshot, values=values, bad=bad)


def _describing_less(info: Info, count: int) -> Info:
    if not count:
        return info
    kept = len(info.properties) - count
    properties = dict(islice(info.properties.items(), kept))
    truncated = max(info.truncated or 0, count)
    return msgspec.structs.replace(info, properties=properties, truncated=truncated)
