"""The one reconnect loop: how soon it tries again, and how an error says so itself."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from busbar.contract.describe import Description
from busbar.contract.messages import Fault
from busbar.errors import BusbarError, DeviceRefused, LinkLost, Retry
from busbar.link.session import DELAYS, Link, supervise
from busbar.testing.fakes import until
from tests.running import running
from tests.toy import Toy, service

ATTEMPTS = 12


class Booting(LinkLost):
    retry = Retry(2.0, 2.0)


class Undefined(DeviceRefused):
    retry = Retry(900.0, 900.0)


class Unreachable(LinkLost):
    retry = Retry(1.0, 120.0)


class Enough(BaseException):
    pass


class Recorder:
    """A keeper that never lets the link serve and notes how long it is to wait."""

    def __init__(self, error: BaseException) -> None:
        self.pauses: list[float] = []
        self.faults: list[Fault] = []
        self._error = error
        self.link = Link("a", "b::1", self._open, {"a": Description("toy")})

    @asynccontextmanager
    async def _open(self, _port):
        raise self._error
        yield

    async def until_wanted(self) -> None:
        if len(self.pauses) == ATTEMPTS:
            raise Enough

    async def pause(self, seconds: float, firm: bool = False) -> None:
        self.pauses.append(seconds)

    async def serve(self, session: object) -> None:
        raise AssertionError("nothing to serve")

    def on_lost(self, fault: Fault, soon: bool = False) -> None:
        self.faults.append(fault)


async def pauses(error: BaseException) -> list[float]:
    recorder = Recorder(error)
    with pytest.raises(Enough):
        await supervise(recorder)
    assert {fault.message for fault in recorder.faults} == {"no"}
    return recorder.pauses


@pytest.mark.parametrize(("error", "seconds"), [(Booting, 2.0), (Undefined, 900.0)])
async def test_an_error_may_say_when_to_try_again(
    error: type[BusbarError], seconds: float
) -> None:
    assert await pauses(error("no")) == [seconds] * ATTEMPTS


async def test_delays_of_an_error_grow_from_its_first_to_its_most() -> None:
    found = await pauses(Unreachable("no"))
    for attempt, seconds in enumerate(found, start=1):
        assert 1 <= seconds <= min(120, 2**attempt)
    assert max(found) > 10


async def test_other_errors_are_tried_again_as_ever() -> None:
    found = await pauses(LinkLost("no"))
    assert all(DELAYS.least <= seconds <= DELAYS.most for seconds in found)


async def test_an_error_within_groups_is_the_one_that_counts() -> None:
    group = BaseExceptionGroup(
        "work", [BaseExceptionGroup("more", [Booting("no"), asyncio.CancelledError()])]
    )
    # not ours to catch: it holds more than errors
    with pytest.raises(BaseExceptionGroup):
        await pauses(group)
    assert (
        await pauses(ExceptionGroup("work", [ExceptionGroup("more", [Booting("no")])]))
        == [2.0] * ATTEMPTS
    )


def inside_cancelled() -> "asyncio.Future[Any]":
    """Return what a task of the session's own has cancelled."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


async def test_a_session_that_is_cancelled_from_within_is_opened_again() -> None:
    toy = Toy()
    async with running(service(toy), "bridge: {name: lab}\n") as bus:
        await bus.status("toy", "online")
        toy.sessions[0].broken.cancel()
        assert (await bus.status("toy", "offline"))["reason"]["message"].startswith(
            "CancelledError"
        )
        await bus.clock.advance(5.0)
        await until(lambda: toy.opened == 2, "the link again")
        await bus.status("toy", "online")


async def test_a_command_that_is_cancelled_from_within_has_an_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toy = Toy()
    async with running(service(toy), "bridge: {name: lab}\n") as bus:
        await bus.status("toy", "online")
        monkeypatch.setattr(toy.sessions[0], "set", lambda *given: inside_cancelled())
        assert (await bus.set("toy", "level", 3))["error"]["code"] == "internal"
        assert (await bus.call("toy", "echo", {"text": "goes on"}))["ok"]
