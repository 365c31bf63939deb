"""Which image belongs to an exposure."""

import asyncio

import pytest

from busbar.bridge import DeviceTimeout, TooLarge
from indi_bridge.blobs import awaited
from indi_bridge.blobs.awaited import AwaitedImage, CameraImage, Exposed


def image(seconds: float | None, blob: str = "ours") -> CameraImage:
    return CameraImage(Exposed(blob), seconds, None)


def waiting(seconds: float = 2.0) -> AwaitedImage:
    return AwaitedImage("CCD", "CCD_EXPOSURE", "CCD1", seconds)


async def test_an_image_that_came_before_the_exposure_began_is_of_an_older_one() -> (
    None
):
    made = waiting()
    made.on_image(image(2.0, "older"))
    made.on_busy()
    made.on_image(image(2.0))
    assert (await made.result()).blob == "ours"


async def test_an_image_of_another_exposure_time_is_of_an_older_one() -> None:
    made = waiting()
    made.on_busy()
    made.on_image(image(0.3, "older"))
    made.on_image(image(2.001))
    assert (await made.result()).blob == "ours"


async def test_an_image_that_tells_no_time_counts() -> None:
    made = waiting()
    made.on_busy()
    made.on_image(image(None))
    assert (await made.result()).blob == "ours"


async def test_an_image_may_come_after_the_end_of_the_exposure() -> None:
    made = waiting()
    result = asyncio.ensure_future(made.result())
    await asyncio.sleep(0)
    made.on_image(image(2.0))
    assert (await result).blob == "ours"


async def test_a_moment_may_be_over_before_its_busy_is_read() -> None:
    made = waiting(0.01)
    made.on_image(image(0.01))
    assert (await made.result()).blob == "ours"


async def test_an_image_that_nobody_can_get_is_no_success() -> None:
    made = waiting()
    made.on_busy()
    made.on_image(CameraImage(Exposed("ours"), 2.0, TooLarge("too large")))
    with pytest.raises(TooLarge):
        await made.result()


async def test_no_image_is_a_timeout_that_says_what_else_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(awaited, "WAIT", 0.01)
    made = waiting()
    made.on_busy()
    made.on_image(image(0.3, "older"))
    with pytest.raises(DeviceTimeout, match="1 of other exposure times"):
        await made.result()
