"""`busbar conformance --all` on our own bridges while their devices change.

Every check is made, none is violated.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from busbar.cli.check.conformance import examine, report
from busbar.contract.topics import Topics
from busbar.net.endpoint import Endpoint
from tests.broker import Mosquitto
from tests.contract.client import Client
from tests.contract.subject import Subject
from tests.contract.subjects import SUBJECTS

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.section("1 to 5")]

# s to listen: some snapshots; longer where a busy machine has not sent them by then
SECONDS = (2.5, 10.0, 40.0)
LOOKS = [*((kind, "5") for kind in SUBJECTS), ("scpi", "3.1.1"), ("toy", "3.1.1")]
NOT_HERE = {
    "While a device is offline or stopped all its values are bad with `offline`",
    "A device that is offline fails at once with `offline`",
    "There is a snapshot at least every 60 s",
}
BY_CHANCE = {  # where nothing is bad, nothing to log
    "A value that is bad with `out_of_range` is published, and outside its schema",
    "What is bad says why with a code of the contract, and is a property",
    "Events are as info declares them",
}
CORRELATION = {"MQTT 5: Correlation Data is echoed"}
SENT = {"A command sent long ago is `expired`, one sent now is not"}
Found = tuple[Subject, report.Report]


async def look(kind: str, protocol: str, folder: Path) -> Found:
    with Mosquitto() as broker:
        async with SUBJECTS[kind].make(broker.url, protocol, folder) as subject:
            await subject.start()
            async with (
                Client(broker.port, subject.base, protocol) as client,
                changing(subject, client),
            ):
                endpoint = Endpoint(broker.url, protocol=protocol)
                topics = Topics("busbar", subject.bridge)
                return subject, await examined(subject, endpoint, topics)


async def examined(
    subject: Subject, endpoint: Endpoint, topics: Topics
) -> report.Report:
    """Listen until everything has come that the checks need; a violation ends it."""
    for seconds in SECONDS:
        found = await examine.examine(endpoint, topics, "all", None, seconds)
        allowed = not_here(subject, endpoint.protocol) | BY_CHANCE
        if found.violated or not_tried(found) <= allowed:
            break
    return found


def not_tried(found: report.Report) -> set[str]:
    return {each.sentence for each in found.results if each.state == "not tried"}


def not_here(subject: Subject, protocol: str) -> set[str]:
    """Return the checks that this subject gives no occasion for."""
    expected = set(NOT_HERE)
    if protocol != "5":
        expected |= CORRELATION
    if not subject.synchronised:
        expected |= SENT
    return expected


@contextlib.asynccontextmanager
async def changing(subject: Subject, client: Client) -> AsyncIterator[None]:
    """Entered = the bridge is online; its device changes by itself."""
    await subject.online(client)

    async def change() -> None:
        for number in itertools.cycle(range(1, 300)):
            subject.change(subject.number, number / 10)
            await asyncio.sleep(0.2)

    task = asyncio.create_task(change(), name="changing")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.timeout(400)
async def test_every_check_of_the_product_holds(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Look at all of them at once: it is mostly waiting.

    One test, so that no second worker of the suite looks again.
    """
    looks = (look(*each, tmp_path_factory.mktemp(each[0])) for each in LOOKS)
    found = await asyncio.gather(*looks)
    wrong = [
        f"{kind} on MQTT {protocol}\n{report.text(each)}"
        for (kind, protocol), (subject, each) in zip(LOOKS, found, strict=True)
        if not holds(subject, protocol, each)
    ]
    assert not wrong, "\n\n".join(wrong)


def holds(subject: Subject, protocol: str, found: report.Report) -> bool:
    """Say whether every check was made and none violated."""
    expected = not_here(subject, protocol)
    tried = expected <= not_tried(found) <= expected | BY_CHANCE
    return tried and not found.violated
