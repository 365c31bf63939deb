"""Image of an exposure: which of the BLOBs that come is the one that was asked for.

An image and the end of its exposure come on two connections, and cameras send images of
earlier exposures late. So only an image counts that came after the exposure had begun,
and whose header, where it has one, tells the same exposure time.
Source: docs/protocols/indi.md, 4.13 and 5.
"""

import asyncio
from typing import Any, NamedTuple

import msgspec

from busbar.bridge import BusbarError, DeviceTimeout

WAIT = 60.0  # s for an image after the exposure has ended: it has its own connection
MOMENT = 0.1  # s; so short an exposure may be over before its Busy is read
# exposure times that are the same: cameras round to their clock
ABSOLUTE = 0.01  # s
RELATIVE = 0.02


class Exposed(msgspec.Struct, frozen=True):
    """Result of an exposure: the blob and what its property says.

    `uploaded` is the file on the camera's machine where the camera keeps it there; then
    `blob` and `about` are null.
    """

    blob: str | None = None
    about: dict[str, Any] | None = None
    uploaded: str | None = None


class CameraImage(NamedTuple):
    """One image of a camera, on the bus, in a file, or lost."""

    exposed: Exposed
    seconds: float | None  # that its header tells
    problem: BusbarError | None  # nobody can get it


class AwaitedImage:
    """The image of one exposure of so many seconds."""

    def __init__(self, device: str, exposure: str, vector: str, seconds: float) -> None:
        self.device = device
        self.exposure = exposure  # the vector that is Busy meanwhile
        self.vector = vector
        self._seconds = seconds
        self._begun = False
        self._foreign = 0  # images that were of other exposures
        self._found: asyncio.Future[CameraImage] = (
            asyncio.get_running_loop().create_future()
        )

    def on_busy(self) -> None:
        """Take note that the exposure is under way."""
        self._begun = True

    def on_image(self, image: CameraImage) -> None:
        """Take an image of the camera, or that one was lost, if it is ours."""
        if self.is_ours(image.seconds):
            self.take(image)

    def is_ours(self, seconds: float | None) -> bool:
        """Count an image that comes now; return whether it may be of this exposure.

        `seconds` is the exposure time in its header.
        """
        if not self._has_time(seconds):
            self._foreign += 1
            return False
        return self._begun or self._seconds <= MOMENT

    def take(self, image: CameraImage) -> None:
        """Take an image that is ours."""
        if not self._found.done():
            self._found.set_result(image)

    async def result(self) -> Exposed:
        """Return the image once the exposure has ended well; raise why there is none.

        DeviceTimeout if none has come, else what became of it.
        """
        self._begun = True
        try:
            async with asyncio.timeout(WAIT):
                image = await self._found
        except TimeoutError as error:
            raise DeviceTimeout(self._missing()) from error
        if image.problem is not None:
            raise image.problem
        return image.exposed

    def _has_time(self, seconds: float | None) -> bool:
        """Return whether the header tells our exposure time, or none."""
        if seconds is None:
            return True
        allowed = max(ABSOLUTE, RELATIVE * self._seconds)
        return abs(seconds - self._seconds) <= allowed

    def _missing(self) -> str:
        text = f"{self.vector}: the exposure has ended, no image came in {WAIT:g} s"
        if self._foreign:
            text += f" ({self._foreign} of other exposure times)"
        return text
