"""Making a snapshot fit into one message: what fits is published, the largest left out. Source: docs/contract.md, 3."""

import msgspec
from msgspec import UNSET

from busbar import contract
from busbar.contract import State


def fit(snapshot: State, room: int) -> tuple[bytes, int]:
    """Return the payload, at most `room` bytes, and how many properties had to be left out."""
    payload = contract.encode(snapshot)
    if len(payload) <= room:
        return payload, 0
    snapshot = msgspec.structs.replace(snapshot, times=UNSET)
    largest = sorted(snapshot.values.keys() | snapshot.bad.keys(), key=lambda path: (-_size(snapshot, path), path))
    low, high = 0, len(largest)
    while low < high:
        middle = (low + high) // 2
        if len(contract.encode(_without(snapshot, set(largest[:middle])))) <= room:
            high = middle
        else:
            low = middle + 1
    return contract.encode(_without(snapshot, set(largest[:low]))), low


def _size(snapshot: State, path: str) -> int:
    return len(contract.encode([snapshot.values.get(path), snapshot.bad.get(path)]))


def _without(snapshot: State, paths: set[str]) -> State:
    values = {path: value for path, value in snapshot.values.items() if path not in paths}
    bad = {path: fault for path, fault in snapshot.bad.items() if path not in paths}
    return msgspec.structs.replace(snapshot, values=values, bad=bad)
