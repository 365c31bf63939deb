"""`subject`: each bridge, running; `client` beside it.

`fresh`: one not yet started.

A test says with `section` what part of the contract it holds a bridge to, and with
`needs` which traits a subject must have: for others there is no such test. A version of
MQTT is a trait, too: `mqtt5`.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.broker import Mosquitto
from tests.contract import payloads
from tests.contract.client import Client
from tests.contract.subject import Subject
from tests.contract.subjects import SUBJECTS
from tests.proxy import Proxy

SCOPES = {"running": "session", "fresh": "function"}
HERE = Path(__file__).parent
ON_BOTH = {"scpi", "toy"}  # versions of MQTT


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", ("section(number): the section of docs/contract.md")
    )
    config.addinivalue_line("markers", "needs(trait): only for bridges that have it")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test for each bridge that has what it needs, and each version of MQTT."""
    needed = {each.args[0] for each in metafunc.definition.iter_markers("needs")}
    kinds = [
        pytest.param((name, protocol), id=f"{name}-mqtt{protocol}")
        for name, protocol in subjects(needed)
    ]
    for fixture in SCOPES.keys() & set(metafunc.fixturenames):
        if not section(metafunc.definition):
            raise pytest.UsageError(
                f"{metafunc.definition.nodeid} names no section of the contract"
            )
        metafunc.parametrize(fixture, kinds, indirect=True, scope=SCOPES[fixture])


def subjects(needed: set[str]) -> list[tuple[str, str]]:
    """Return the bridges that have what a test needs, each with a version of MQTT.

    All on MQTT 5. The version is the library's affair, not a service's: 3.1.1 is tried
    on two bridges, one of them a process, or on all where neither will do.
    """
    on_5 = [
        name for name, kind in SUBJECTS.items() if needed <= kind.traits | {"mqtt5"}
    ]
    on_3 = [name for name in on_5 if "mqtt5" not in needed]
    chosen = [name for name in on_3 if name in ON_BOTH] or on_3
    return [*((name, "5") for name in on_5), *((name, "3.1.1") for name in chosen)]


def section(item: pytest.Item) -> str:
    """Return the sections of a test, "" if it names none."""
    return ", ".join(each.args[0] for each in item.iter_markers("section"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    """Say with a failure and in JUnit what part of the contract it is."""
    report = yield
    if HERE in item.path.parents and section(item) and call.when == "call":
        item.user_properties.append(("section", section(item)))
        report.user_properties = item.user_properties
        report.sections.append(("Contract", f"docs/contract.md, {section(item)}"))
    return report


@pytest.fixture(scope="session")
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as mosquitto:
        yield mosquitto


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(
    request: Any, broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Subject, str]]:
    """One bridge for all tests that leave it as they found it."""
    kind, protocol = request.param
    async with SUBJECTS[kind].make(
        broker.url, protocol, tmp_path_factory.mktemp(kind)
    ) as made:
        await made.start()
        yield made, protocol
        await made.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def client(
    running: tuple[Subject, str], broker: Mosquitto
) -> AsyncIterator[Client]:
    """A client of it; all it has seen is valid."""
    subject, protocol = running
    async with Client(broker.port, subject.base, protocol) as client:
        await subject.online(client)
        yield client
    assert payloads.check(client.bridges())


@pytest_asyncio.fixture(loop_scope="session")
async def subject(running: tuple[Subject, str]) -> Subject:
    return running[0]


@pytest.fixture
def traits(request: pytest.FixtureRequest) -> frozenset[str]:
    """What the bridge under test can show beside what every bridge can."""
    kind, _ = request.node.callspec.params["running"]
    return SUBJECTS[kind].traits


@pytest.fixture
def own_broker() -> Iterator[Mosquitto]:
    with Mosquitto() as mosquitto:
        yield mosquitto


@dataclass
class Fresh:
    """A bridge that has not been started, its client, the broker, and the proxy between
    bridge and broker."""

    subject: Subject
    client: Client
    broker: Mosquitto
    proxy: Proxy
    kind: str

    async def online(self) -> None:
        """Start the bridge."""
        await self.subject.start()
        await self.subject.online(self.client)


@pytest_asyncio.fixture
async def fresh(
    request: Any, own_broker: Mosquitto, tmp_path: Path
) -> AsyncIterator[Fresh]:
    """A bridge with all for itself; what its client has seen is valid."""
    kind, protocol = request.param
    async with (
        Proxy(own_broker.port) as proxy,
        SUBJECTS[kind].make(proxy.url, protocol, tmp_path) as made,
    ):
        # one order of all messages
        async with Client(own_broker.port, made.base, protocol, qos=0) as client:
            yield Fresh(made, client, own_broker, proxy, kind)
        assert payloads.check(client.bridges())
