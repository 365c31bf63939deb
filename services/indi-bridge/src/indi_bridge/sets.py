"""Sets of vectors: validated, sent and awaited."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from busbar.bridge import Turn, UnknownTarget
from busbar.codecs.indi import Element, NewVector
from indi_bridge.dispatch import ElementDispatcher
from indi_bridge.pending import DEFAULTS, SetOptions
from indi_bridge.validate import new_vector
from indi_bridge.vectors import Vector


class VectorSets:
    """Sets vectors of the devices of one server."""

    def __init__(
        self,
        dispatcher: ElementDispatcher,
        send: Callable[[Element], Awaitable[None]],
        *,
        steps: bool,
    ) -> None:
        self._dispatcher = dispatcher
        self._send = send
        self._steps = steps

    def vector(self, device: str, name: str) -> Vector:
        """Return a vector of a device of the bus; raise UnknownTarget."""
        return self._dispatcher.vector(device, name)

    def find(self, device: str, name: str) -> Vector | None:
        """Return a vector of a device of the bus, None if it is not defined."""
        try:
            return self._dispatcher.vector(device, name)
        except UnknownTarget:
            return None

    def images(self, device: str) -> list[Vector]:
        """Return the vectors of a device that bring images."""
        vectors = self._dispatcher.publisher(device).device.vectors.values()
        return [each for each in vectors if each.kind == "BLOB" and each.perm != "wo"]

    def check(
        self, vector: Vector, given: Mapping[str, Any], time: float | None = None
    ) -> NewVector:
        """Return the element that sets members (original names).

        Raise BadRequest, OutOfRange, ReadOnly.
        """
        return new_vector(vector, given, time, steps=self._steps)

    async def set(
        self,
        vector: Vector,
        given: Mapping[str, Any],
        turn: Turn,
        options: SetOptions = DEFAULTS,
        time: float | None = None,
    ) -> None:
        """Set members (original names) and wait for the end; raise how it failed."""
        new = self.check(vector, given, time)
        if new.members or new.blobs:
            send = partial(self._send, new)
            await self._dispatcher.pending.run(vector, new, send, turn, options)
