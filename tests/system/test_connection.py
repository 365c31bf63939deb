"""One MQTT connection to a real Mosquitto.

Transports, credentials, limits, what happens when it breaks.
"""

import asyncio
import gc
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from busbar.errors import ConfigError
from busbar.mqtt.connection import connection
from busbar.mqtt.outbox import Message, Outbox
from busbar.mqtt.reconnect import BrokerLost, Received
from busbar.net.endpoint import Endpoint
from busbar.testing.fakes import until
from tests.broker import Mosquitto, find
from tests.proxy import Proxy
from tests.watcher import Watcher

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [ROOT / "mosquitto" / "certificates.sh", folder, "broker", "bench"],
        check=True,
        capture_output=True,
    )
    for file in folder.iterdir():
        file.chmod(0o644)
    folder.chmod(0o755)
    return folder


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as mosquitto:
        yield mosquitto


async def serves(endpoint: Endpoint) -> None:
    """A message goes out and comes back."""
    outbox, seen = Outbox(), list[Received]()
    async with connection(endpoint, outbox, seen.append, "busbar.test") as link:
        await link.subscribe(["busbar/echo"])
        outbox.put(Message("busbar/echo", b"hello"))
        link.begin()
        await until(lambda: seen, "the echo")
        assert seen[0].payload == b"hello"
        await link.drained()
        assert not outbox.busy("busbar/echo")


def accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as end:
        return end.connect_ex(str(path)) == 0


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_connection_over_tcp_serves(broker: Mosquitto, protocol: str) -> None:
    await serves(Endpoint(broker.url, protocol=protocol))


async def test_mqtt_5_keeps_from_us_what_we_publish_and_what_is_retained(
    broker: Mosquitto,
) -> None:
    outbox, seen = Outbox(), list[Received]()
    async with Watcher(broker.port) as other:
        other.publish("busbar/a", b"old", retain=True)
        await other.abreast()
        async with connection(
            Endpoint(broker.url), outbox, seen.append, "busbar.test"
        ) as link:
            await link.subscribe(["busbar/+"], others_only=True)
            link.begin()
            outbox.put(Message("busbar/a", b"ours"))
            await until(lambda: other.on("busbar/a")[1:], "ours at another client")
            other.publish("busbar/a", b"theirs")
            await until(lambda: seen, "theirs")
            assert [each.payload for each in seen] == [b"theirs"]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_connection_over_a_unix_socket_serves(
    tmp_path: Path, protocol: str
) -> None:
    path = tmp_path / "mqtt.sock"
    with Mosquitto(f"listener 0 {path}"):
        await until(lambda: accepts(path), "the socket")  # it opens after the port
        await serves(Endpoint(f"unix://{path}", protocol=protocol))


# paho leaves the socket of a failed handshake to the garbage collector, which says so
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. "
    "<ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
async def test_a_connection_over_tls_with_a_client_certificate_serves(
    certificates: Path,
) -> None:
    lines = [
        f"cafile {certificates}/ca.crt",
        f"certfile {certificates}/server.crt",
        f"keyfile {certificates}/server.key",
    ]
    with Mosquitto(*lines, "require_certificate true") as broker:
        url = broker.url.replace("mqtt:", "mqtts:")
        bench = {
            "cert_file": f"{certificates}/bench.crt",
            "key_file": f"{certificates}/bench.key",
        }
        await serves(Endpoint(url, ca_file=f"{certificates}/ca.crt", **bench))
        with pytest.raises(
            BrokerLost, match=r"certificate|alert|handshake|EOF|ended|reset|closed"
        ):
            await serves(Endpoint(url, ca_file=f"{certificates}/ca.crt"))
        with pytest.raises(BrokerLost, match="CERTIFICATE_VERIFY_FAILED"):
            await serves(Endpoint(url, **bench))
        await serves(Endpoint(url, insecure=True, **bench))
    gc.collect()


def test_tls_files_that_cannot_be_read_are_named() -> None:
    with pytest.raises(ConfigError, match=r"/nowhere/ca\.crt"):
        Endpoint("mqtts://127.0.0.1", ca_file="/nowhere/ca.crt").ssl_context()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_wrong_credentials_are_named(tmp_path: Path, protocol: str) -> None:
    passwords = tmp_path / "passwords"
    passwords.touch()
    command = [find("mosquitto_passwd"), "-b", passwords, "bench", "right"]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    with Mosquitto(
        f"password_file {passwords}", configuration="allow_anonymous false\n"
    ) as broker:
        await serves(Endpoint(broker.url, "bench", "right", protocol))
        await serves(
            Endpoint(broker.url.replace("//", "//bench:right@"), protocol=protocol)
        )
        with pytest.raises(
            BrokerLost,
            match=(
                r"refuses the connection: (Not "
                r"authorized|Bad user name)"
            ),
        ):
            await serves(Endpoint(broker.url, "bench", "wrong", protocol))


async def test_a_broker_that_is_not_there_is_named(broker: Mosquitto) -> None:
    broker.kill()
    with pytest.raises(
        BrokerLost,
        match=(
            rf"cannot connect to "
            rf"mqtt://127\.0\.0\.1:{broker.port}: "
            rf".*refused"
        ),
    ):
        await serves(Endpoint(broker.url))


async def test_an_oversize_message_is_dropped_before_the_broker_could_close() -> None:
    with Mosquitto(
        configuration=("allow_anonymous true\nmax_packet_size 2000\n")
    ) as broker:
        outbox, seen = Outbox(), list[Received]()
        async with connection(
            Endpoint(broker.url), outbox, seen.append, "busbar.test"
        ) as link:
            await link.subscribe(["busbar/#"])
            assert outbox.limit < 2000
            outbox.put(Message("busbar/big", bytes(3000)))
            outbox.retain("busbar/kept", lambda: bytes(3000))
            outbox.put(Message("busbar/small", b"x"))
            link.begin()
            await until(lambda: seen, "the small one")
            assert [each.topic for each in seen] == ["busbar/small"]
            assert outbox.dropped == 2


async def test_at_most_100_messages_are_in_flight_and_none_is_lost(
    broker: Mosquitto,
) -> None:
    async with Proxy(broker.port) as proxy, Watcher(broker.port) as watcher:
        outbox = Outbox()
        async with connection(
            Endpoint(f"mqtt://127.0.0.1:{proxy.port}"),
            outbox,
            lambda _: None,
            "busbar.test",
        ) as link:
            proxy.downstream.clear()
            for number in range(500):
                outbox.put(Message("busbar/n", str(number).encode()))
            link.begin()
            await until(lambda: len(watcher.seen) >= 100, "the first hundred")
            await asyncio.sleep(0)
            assert outbox.queued == 400
            proxy.downstream.set()
            await until(lambda: len(watcher.seen) == 500, "all of them")
            assert [int(each.payload) for each in watcher.seen] == list(range(500))


async def test_what_was_not_acknowledged_goes_back_to_the_outbox_in_order(
    broker: Mosquitto,
) -> None:
    async with Proxy(broker.port) as proxy:
        outbox = Outbox()
        with pytest.raises(BrokerLost):
            async with connection(
                Endpoint(f"mqtt://127.0.0.1:{proxy.port}"),
                outbox,
                lambda _: None,
                "busbar.test",
            ) as link:
                proxy.downstream.clear()
                for number in range(150):
                    outbox.put(Message("busbar/n", str(number).encode()))
                link.begin()
                await until(lambda: outbox.queued == 50, "a hundred in flight")
                proxy.cut()
                await link.closed
        assert outbox.queued == 150
        again = [outbox.pull() for _ in range(150)]
        assert [int(each.payload) for each in again if each] == list(range(150))


async def test_a_half_open_link_is_given_up_when_acknowledgements_stay_away(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("busbar.mqtt.connection.ACK_TIMEOUT", 0.5)
    async with Proxy(broker.port) as proxy:
        outbox = Outbox()
        with pytest.raises(BrokerLost, match="no acknowledgement"):
            async with connection(
                Endpoint(f"mqtt://127.0.0.1:{proxy.port}"),
                outbox,
                lambda _: None,
                "busbar.test",
            ) as link:
                link.begin()
                proxy.upstream.clear()
                outbox.put(Message("busbar/n", b"1"))
                await link.closed
        assert outbox.queued == 1


async def test_a_connection_that_only_listens_outlives_its_keepalives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("busbar.mqtt.connection.ACK_TIMEOUT", 0.5)
    with Mosquitto("log_type all") as broker:
        endpoint = Endpoint(broker.url, keepalive=1)
        async with connection(
            endpoint, Outbox(), lambda _: None, "busbar.test"
        ) as link:
            link.begin()
            await until(
                lambda: broker.log.count("Received PINGREQ") >= 3 or link.closed.done(),
                "three pings",
            )
            assert not link.closed.done()


async def test_the_will_is_published_after_a_break_and_not_after_a_clean_end(
    broker: Mosquitto,
) -> None:
    will = Message("busbar/will", b"gone", retain=True)
    async with Watcher(broker.port) as watcher, Proxy(broker.port) as proxy:
        async with connection(
            Endpoint(broker.url), Outbox(), lambda _: None, "busbar.clean", will
        ):
            pass
        with pytest.raises(BrokerLost):
            async with connection(
                Endpoint(f"mqtt://127.0.0.1:{proxy.port}"),
                Outbox(),
                lambda _: None,
                "busbar.broken",
                will,
            ) as link:
                assert not watcher.on("busbar/will")
                proxy.cut()
                await link.closed
        await until(lambda: watcher.on("busbar/will"), "the will")
        assert len(watcher.on("busbar/will")) == 1
