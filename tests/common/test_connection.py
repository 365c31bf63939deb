"""The MQTT connection when something about it is wrong.

tests/system has what it does on a sound broker.
"""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from busbar.client import Client
from busbar.errors import BadRequest, BusbarError, Forbidden, LinkLost, Overloaded
from busbar.mqtt.connection import CONNECT_TIMEOUT, connection
from busbar.mqtt.outbox import Message, Outbox
from busbar.mqtt.reconnect import BrokerLost, Received
from busbar.net.endpoint import Endpoint
from busbar.net.tls import server_context
from busbar.testing.fakes import Clock, until
from tests.broker import Mosquitto
from tests.certificates import self_signed
from tests.cli.command import busbar
from tests.refusing_broker import refusing_broker


async def test_a_topic_that_mqtt_does_not_allow_costs_only_its_message() -> None:
    outbox, seen = Outbox(), list[Received]()
    with Mosquitto() as broker:
        async with connection(
            Endpoint(broker.url), outbox, seen.append, "busbar.test"
        ) as link:
            await link.subscribe(["busbar/#"])
            outbox.put(Message("busbar/a+b", b"x"))
            outbox.put(Message("busbar/fine", b"y"))
            link.begin()
            await until(lambda: seen, "the next message")
            assert [each.topic for each in seen] == ["busbar/fine"]
            assert (outbox.dropped, outbox.busy("busbar/a+b")) == (1, False)


@pytest.mark.parametrize(
    ("protocol", "code", "forbidden"),
    [("5", 0x87, True), ("5", 0xA2, False), ("5", 0x80, False), ("3.1.1", 0x80, True)],
)
async def test_a_refused_subscription_is_forbidden_where_rights_are_the_reason(
    protocol: str, code: int, forbidden: bool
) -> None:
    async with refusing_broker(code) as url:
        endpoint = Endpoint(url, protocol=protocol)
        with pytest.raises(BrokerLost, match="subscription to busbar/#") as error:
            async with connection(endpoint, Outbox(), lambda _: None, "test") as link:
                await link.subscribe(["busbar/#"])
    assert isinstance(error.value, Forbidden) is forbidden


class Refusals(Outbox):
    """Keeps why messages were refused."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[BusbarError] = []

    def refused(self, message: Message, why: BusbarError) -> None:
        self.reasons.append(why)
        super().refused(message, why)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0x87, Forbidden),
        (0x90, BadRequest),
        (0x97, Overloaded),
        (0x99, BadRequest),
        (0x80, LinkLost),
    ],
)
async def test_a_refused_publish_has_the_error_of_its_reason(
    code: int, kind: type[BusbarError]
) -> None:
    outbox = Refusals()
    async with refusing_broker(code) as url:
        endpoint = Endpoint(url)
        async with connection(endpoint, outbox, lambda _: None, "test") as link:
            outbox.put(Message("busbar/lab/toy/event/x", b"x"))
            link.begin()
            await until(lambda: outbox.reasons, "the refusal")
    assert [type(each) for each in outbox.reasons] == [kind]
    assert "the broker refuses it" in outbox.reasons[0].message


@pytest.mark.parametrize(("protocol", "code"), [("5", 0x87), ("3.1.1", 0x80)])
async def test_a_client_that_may_not_subscribe_is_told_at_once(
    protocol: str, code: int
) -> None:
    async with refusing_broker(code) as url:
        client = Client(Endpoint(url, protocol=protocol), timeout=1000)
        with pytest.raises(Forbidden, match="refuses the subscription"):
            async with client:
                pass
        words = ("--json", "--broker", url, "--protocol", protocol, "ls")
        done = await asyncio.to_thread(busbar, *words)
        error = json.loads(done.err)["error"]
        assert (done.code, error["code"], error["retryable"]) == (3, "forbidden", False)


@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. "
    "<ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
async def test_a_connection_that_was_given_up_does_not_come_after_all(
    tmp_path: Path,
) -> None:
    cert, key = self_signed(tmp_path)
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        endpoint = Endpoint(
            f"mqtts://127.0.0.1:{listener.getsockname()[1]}", insecure=True
        )
        trying = asyncio.create_task(connect(endpoint))
        accepted, _ = await loop.sock_accept(listener)
        await Clock().advance(CONNECT_TIMEOUT + 1)
        with pytest.raises(BrokerLost, match="no answer"):
            await trying
        made, peer = await loop.connect_accepted_socket(
            Peer, accepted, ssl=server_context(cert, key)
        )
        await until(peer.lost.is_set, "the end of the connection")
        # no CONNECT, which would take the client id from our next connection
        assert peer.received == b""
        made.abort()


class Peer(asyncio.Protocol):
    """The other side until the connection ends.

    It may end with a reset: who closes with unread bytes, such as the session tickets
    of TLS 1.3, sends one.
    """

    def __init__(self) -> None:
        self.received = b""
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


async def connect(endpoint: Endpoint) -> None:
    async with connection(endpoint, Outbox(), lambda received: None, "busbar.test"):
        raise AssertionError("nobody answers")
