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
    """Return the payload, at most `room` bytes, and how many properties, the largest, had to be left out."""
    payload = messages.encode(snapshot)
    if len(payload) <= room:
        return payload, 0
    snapshot = msgspec.structs.replace(snapshot, times=UNSET)
    largest = sorted(
        snapshot.values.keys() | snapshot.bad.keys(),
        key=lambda path: (-_size(snapshot, path), path),
    )
    return _fewest(
        len(largest),
        lambda count: messages.encode(_without(snapshot, largest[:count])),
        room,
    )


def fit_info(info: Info, room: int) -> bytes:
    """Return the payload, at most `room` bytes.

    The last properties are left out if need be, and counted.
    """
    return _fewest(
        len(info.properties),
        lambda count: messages.encode(_describing_less(info, count)),
        room,
    )[0]


def _fewest(most: int, encoded: Callable[[int], bytes], room: int) -> tuple[bytes, int]:
    """Leave out as few as possible; as a rule that is nothing, and takes one look."""
    payload = encoded(0)
    if len(payload) <= room:
        return payload, 0
    fewest = 1 + bisect.bisect_left(
        range(1, most), x=True, key=lambda count: len(encoded(count)) <= room
    )
    count = min(most, fewest)
    return encoded(count), count


def _size(snapshot: State, path: str) -> int:
    return len(messages.encode([snapshot.values.get(path), snapshot.bad.get(path)]))


def _without(snapshot: State, paths: Sequence[str]) -> State:
    left_out = set(paths)
    values = {
        path: value for path, value in snapshot.values.items() if path not in left_out
    }
    bad = {path: fault for path, fault in snapshot.bad.items() if path not in left_out}
    return msgspec.structs.replace(snapshot, values=values, bad=bad)


def _describing_less(info: Info, count: int) -> Info:
    if not count:
        return info
    properties = dict(islice(info.properties.items(), len(info.properties) - count))
    return msgspec.structs.replace(
        info, properties=properties, truncated=max(info.truncated or 0, count)
    )
