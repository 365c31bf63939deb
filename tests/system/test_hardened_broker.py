"""What `mosquitto/hardened.conf` and `acl` grant and refuse.

Seen in what arrives, never in what is acknowledged.
"""

import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client as Paho
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from busbar.client import Forbidden
from busbar.client.blocking import Client as Bus
from busbar.net.endpoint import Endpoint
from tests.broker import Mosquitto, find
from tests.cli.command import Done, busbar, until
from tests.cli.conftest import simulator
from tests.process import BridgeProcess
from tests.system.test_blocking import bridge as bench
from tests.toy import Toy

SOURCE = Path(__file__).parents[2] / "mosquitto"
USERS = ["scpi1", "cip1", "viewer", "operator", "homeassistant", "witness"]
LIMIT = 60.0  # s; generous, only a failure needs it
NUMBER = count()
V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5


class RefusedError(Exception):
    """The broker did not let us in."""


class Client:
    """One connection; `received` has every message so far as (topic, size)."""

    def __init__(self, paho: Paho) -> None:
        self.received: list[tuple[str, int]] = []
        self._paho = paho
        self._changed = threading.Condition()
        self._answer: str | None = None
        self._lost = False
        self._granted: set[int] = set()
        paho.on_connect = lambda _c, _u, _f, reason, _p: self._set(
            lambda: setattr(self, "_answer", str(reason))
        )
        paho.on_disconnect = lambda *_: self._set(lambda: setattr(self, "_lost", True))
        paho.on_subscribe = lambda _c, _u, mid, *_: self._set(
            lambda: self._granted.add(mid)
        )
        paho.on_message = self._on_message

    def connect(self, port: int) -> None:
        self._paho.connect("127.0.0.1", port)
        self._paho.loop_start()
        self._wait(lambda: self._answer is not None or self._lost)
        if self._answer != "Success":
            raise RefusedError(self._answer)

    def publish(self, topic: str, payload: str | bytes = "x") -> None:
        """Return when the broker has dealt with it, whatever it has done with it."""
        self._paho.publish(topic, payload, qos=1).wait_for_publish(LIMIT)

    def publish_and_be_cut_off(self, topic: str, payload: bytes) -> None:
        self._paho.publish(topic, payload, qos=1)
        self._wait(lambda: self._lost)

    def subscribe(self, topic: str) -> None:
        """Return when the broker has answered.

        What it had for us before that has arrived, too.
        """
        _, mid = self._paho.subscribe(topic, qos=1)
        assert mid is not None
        self._wait(lambda: mid in self._granted)

    def close(self) -> None:
        self._paho.disconnect()
        self._paho.loop_stop()

    def _on_message(self, _client: Paho, _data: object, message: MQTTMessage) -> None:
        self._set(lambda: self.received.append((message.topic, len(message.payload))))

    def _set(self, change: Callable[[], Any]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, LIMIT)


class Site:
    """A running broker and its certificates and users."""

    def __init__(self, broker: Mosquitto, files: Path) -> None:
        self.broker, self.files = broker, files

    def tls(self, *, ca: str = "ca.crt", client: str | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.files / ca)
        if client is not None:
            context.load_cert_chain(
                self.files / f"{client}.crt", self.files / f"{client}.key"
            )
        return context

    @contextmanager
    def client(
        self,
        user: str | None,
        password: str | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        plain: bool = False,
        version: MQTTProtocolVersion = V311,
    ) -> Iterator[Client]:
        name = f"test-{next(NUMBER)}"
        paho = Paho(
            CallbackAPIVersion.VERSION2,
            name,
            protocol=version,
            reconnect_on_failure=False,
        )
        if user is not None:
            paho.username_pw_set(user, password or secret(user))
        if not plain:
            paho.tls_set_context(tls or self.tls())
        client = Client(paho)
        try:
            client.connect(self.broker.port)
            yield client
        finally:
            client.close()


def secret(user: str) -> str:
    return f"secret of {user}"


def shell(command: str, directory: Path) -> None:
    subprocess.run(
        ["sh", "-ec", command],
        cwd=directory,
        check=True,
        capture_output=True,
        timeout=LIMIT,
    )


def documented(beginning: str) -> str:
    """Return the one command of the README that begins like this."""
    (command,) = re.findall(
        rf"^    ({re.escape(beginning)}.*)$",
        (SOURCE / "README.md").read_text(),
        re.MULTILINE,
    )
    return str(command)


def lay_out(directory: Path) -> str:
    """Put what the configuration names into a directory.

    Return the configuration for it.
    """
    shell(f"{SOURCE}/certificates.sh . broker.test scpi1 viewer", directory)
    shell(f"{SOURCE}/certificates.sh other broker.test", directory)
    shutil.copy(SOURCE / "acl", directory)
    shell(documented("block=$(sed"), directory)
    with (directory / "acl").open("a") as acl:
        acl.write("\nuser witness\ntopic readwrite #\n")
    passwords = directory / "passwords"
    passwords.write_text("".join(f"{user}:{secret(user)}\n" for user in USERS))
    passwords.chmod(0o600)
    subprocess.run(
        [find("mosquitto_passwd"), "-U", passwords], check=True, timeout=LIMIT
    )
    text = (SOURCE / "hardened.conf").read_text()
    return text.replace("/etc/mosquitto/busbar/", f"{directory}/").replace(
        "/var/lib/mosquitto/", f"{directory}/"
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hardened")


@pytest.fixture(scope="module")
def configuration(files: Path) -> str:
    return lay_out(files)


@pytest.fixture(scope="module")
def site(configuration: str, files: Path) -> Iterator[Site]:
    with Mosquitto(configuration=configuration) as broker:
        yield Site(broker, files)


@pytest.fixture(scope="module")
def certificate_site(configuration: str, files: Path) -> Iterator[Site]:
    """The variant with client certificates: the three lines without their `#`."""
    text, changed = re.subn(r"^#(?=[a-z])", "", configuration, flags=re.MULTILINE)
    assert changed == 3
    with Mosquitto(configuration=text) as broker:
        yield Site(broker, files)


def arrives(site: Site, sender: str, reader: str, topic: str) -> bool:
    """Tell whether what one user publishes reaches another."""
    with site.client(reader) as read, site.client(sender) as write:
        read.subscribe("#")
        read.subscribe("$SYS/#")
        write.publish(topic)
        read.subscribe("barrier")
        return topic in [name for name, _ in read.received]


def test_a_user_gets_in_over_tls_and_hears_another(site: Site) -> None:
    assert arrives(site, "scpi1", "viewer", "busbar/scpi1/psu/status")


def test_a_plain_connection_is_refused(site: Site) -> None:
    with pytest.raises(RefusedError), site.client("viewer", plain=True):
        pass


def handshake(site: Site, tls: ssl.SSLContext, name: str = "localhost") -> None:
    with socket.create_connection(("127.0.0.1", site.broker.port), LIMIT) as plain:
        tls.wrap_socket(plain, server_hostname=name).close()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "broker.test"])
def test_the_certificate_holds_for_the_name_and_for_this_machine(
    site: Site, name: str
) -> None:
    handshake(site, site.tls(), name)


def test_a_client_notices_another_authority_or_another_name(site: Site) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(site, site.tls(ca="other/ca.crt"))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(site, site.tls(), "elsewhere.test")


def test_an_old_tls_version_is_refused(site: Site) -> None:
    old = site.tls()
    old.set_ciphers("ALL:@SECLEVEL=0")  # else our own side refuses
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        handshake(site, old)


@pytest.mark.parametrize("version", [V311, V5])
def test_a_wrong_password_is_refused(site: Site, version: MQTTProtocolVersion) -> None:
    with (
        pytest.raises(RefusedError, match=r"[Nn]ot authorized"),
        site.client("viewer", "wrong", version=version),
    ):
        pass


@pytest.mark.parametrize("version", [V311, V5])
def test_an_anonymous_client_is_refused(
    site: Site, version: MQTTProtocolVersion
) -> None:
    with (
        pytest.raises(RefusedError, match=r"[Nn]ot authorized"),
        site.client(None, version=version),
    ):
        pass


def test_an_unknown_user_is_refused(site: Site) -> None:
    with pytest.raises(RefusedError, match=r"[Nn]ot authorized"), site.client("nobody"):
        pass


@pytest.mark.parametrize(
    "topic",
    [
        "busbar/scpi1/bridge/status",
        "busbar/scpi1/psu/state/output/voltage",
        "busbar/scpi1/psu/event/change",
        "busbar/scpi1/psu/reply",
        "busbar/scpi1/psu/set/output",
        "busbar/reply/operator/1",
        "homeassistant/device/scpi1/psu/config",
    ],
)
def test_a_bridge_writes_its_own_tree_replies_and_discovery(
    site: Site, topic: str
) -> None:
    assert arrives(site, "scpi1", "witness", topic)


@pytest.mark.parametrize(
    "topic",
    [
        "busbar/cip1/bridge/status",
        "busbar/cip1/panel/state/digital/1",
        "busbar/cip1/panel/set/digital/1",
        "busbar/cip1/panel/call/refresh",
        "homeassistant/status",
        "homeassistant/device/cip1/panel/config",
        "homeassistant/device/scpi1/config",
        "homeassistant/switch/scpi1/config",
        "elsewhere",
    ],
)
def test_a_bridge_writes_nothing_else(site: Site, topic: str) -> None:
    assert not arrives(site, "scpi1", "witness", topic)


@pytest.mark.parametrize(
    "topic",
    [
        "busbar/scpi1/psu/set",
        "busbar/scpi1/psu/set/output/voltage",
        "busbar/scpi1/psu/call/query",
        "busbar/scpi1/bridge/call/list",
        "busbar/scpi1/bridge/status",
        "busbar/scpi1/psu/info",
        "busbar/scpi1/psu/state",
        "busbar/scpi1/psu/state/output/voltage",
        "busbar/scpi1/psu/blob/screen",
        "busbar/scpi1/psu/event/change",
        "busbar/scpi1/psu/reply",
        "homeassistant/status",
    ],
)
def test_a_bridge_reads_its_own_commands_and_what_it_left_behind(
    site: Site, topic: str
) -> None:
    assert arrives(site, "witness", "scpi1", topic)


@pytest.mark.parametrize(
    "topic",
    [
        "busbar/cip1/panel/set",
        "busbar/cip1/panel/set/digital/1",
        "busbar/cip1/panel/call/refresh",
        "busbar/cip1/panel/state/digital/1",
        "busbar/reply/operator/1",
        "$SYS/broker/test",
        "elsewhere",
    ],
)
def test_a_bridge_reads_nothing_of_others(site: Site, topic: str) -> None:
    assert not arrives(site, "witness", "scpi1", topic)


def test_a_bridge_added_with_the_documented_command_has_the_same_rights(
    site: Site,
) -> None:
    assert arrives(site, "cip1", "witness", "busbar/cip1/panel/state")
    assert arrives(site, "operator", "cip1", "busbar/cip1/panel/set/digital/1")
    assert arrives(site, "cip1", "operator", "busbar/reply/operator/1")
    assert not arrives(site, "cip1", "witness", "busbar/scpi1/psu/state")
    assert not arrives(site, "operator", "cip1", "busbar/scpi1/psu/set/output")


CHANNELS = [
    "status",
    "info",
    "state",
    "state/a/b",
    "event/change",
    "blob/screen",
    "reply",
]
COMMANDS = ["set", "set/a/b", "call/query"]


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("user", ["viewer", "operator"])
def test_a_person_reads_every_device(site: Site, user: str, channel: str) -> None:
    assert arrives(site, "scpi1", user, f"busbar/scpi1/psu/{channel}")


@pytest.mark.parametrize("channel", COMMANDS)
def test_a_viewer_cannot_command(site: Site, channel: str) -> None:
    assert not arrives(site, "viewer", "witness", f"busbar/scpi1/psu/{channel}")


@pytest.mark.parametrize("channel", COMMANDS)
def test_a_viewer_sees_commands(site: Site, channel: str) -> None:
    assert arrives(site, "operator", "viewer", f"busbar/scpi1/psu/{channel}")


@pytest.mark.parametrize("channel", COMMANDS)
@pytest.mark.parametrize("user", ["operator", "homeassistant"])
def test_an_operator_commands_a_bridge(site: Site, user: str, channel: str) -> None:
    assert arrives(site, user, "scpi1", f"busbar/scpi1/psu/{channel}")


@pytest.mark.parametrize(
    "topic", [*(f"scpi1/psu/{channel}" for channel in CHANNELS), "reply/operator/1"]
)
@pytest.mark.parametrize("user", ["viewer", "operator", "homeassistant"])
def test_a_person_cannot_speak_for_a_bridge(site: Site, user: str, topic: str) -> None:
    assert not arrives(site, user, "witness", f"busbar/{topic}")


def test_an_operator_reads_the_own_private_replies(site: Site) -> None:
    assert arrives(site, "scpi1", "operator", "busbar/reply/operator/1")
    assert arrives(site, "scpi1", "operator", "busbar/reply/operator/a/b/c")


@pytest.mark.parametrize("rest", ["1", "a/b/c", *CHANNELS, *COMMANDS])
@pytest.mark.parametrize("user", ["viewer", "operator", "cip1", "homeassistant"])
def test_nobody_reads_private_replies_to_somebody_else(
    site: Site, user: str, rest: str
) -> None:
    assert not arrives(site, "scpi1", user, f"busbar/reply/somebody/{rest}")


@pytest.mark.parametrize("rest", [*CHANNELS, *COMMANDS])
def test_an_operator_cannot_forge_a_private_reply(site: Site, rest: str) -> None:
    assert not arrives(site, "operator", "witness", f"busbar/reply/somebody/{rest}")


def test_home_assistant_hears_discovery_and_says_that_it_has_started(
    site: Site,
) -> None:
    assert arrives(
        site, "scpi1", "homeassistant", "homeassistant/device/scpi1/psu/config"
    )
    assert arrives(site, "homeassistant", "scpi1", "homeassistant/status")


def test_a_retained_status_is_there_for_who_comes_later(site: Site) -> None:
    with site.client("scpi1") as bridge:
        bridge._paho.publish(
            "busbar/scpi1/late/status", "x", qos=1, retain=True
        ).wait_for_publish(LIMIT)
    with site.client("viewer") as viewer:
        viewer.subscribe("busbar/+/late/status")
        viewer.subscribe("barrier")
        assert [topic for topic, _ in viewer.received] == ["busbar/scpi1/late/status"]


@pytest.fixture
def toy(site: Site) -> Iterator[Toy]:
    """A device of the bridge scpi1."""
    made = Toy()
    account = {"username": "scpi1", "password": secret("scpi1")}
    tls = {"ca_file": str(site.files / "ca.crt")}
    with bench(tls_url(site), made, "scpi1", **account, **tls):
        yield made


def tls_url(site: Site) -> str:
    return f"mqtts://127.0.0.1:{site.broker.port}"


def command(site: Site, user: str, *arguments: str) -> Done:
    """Run the command line as one of the users."""
    broker = ("--broker", tls_url(site), "--ca-file", str(site.files / "ca.crt"))
    words = ("--json", "--username", user, *broker, *arguments)
    return busbar(*words, BUSBAR_PASSWORD=secret(user))


WRITE = ("set", "scpi1/toy", "on", "true")


def test_a_command_without_the_right_is_forbidden_and_not_to_be_repeated(
    site: Site, toy: Toy
) -> None:
    done = command(site, "viewer", *WRITE)
    error = json.loads(done.err)["error"]
    assert (done.code, error["code"], error["retryable"]) == (3, "forbidden", False)
    assert "scpi1/toy set/on: the broker refuses it: Not authorized" in error["message"]
    broker = Endpoint(
        tls_url(site),
        username="viewer",
        password=secret("viewer"),
        ca_file=str(site.files / "ca.crt"),
    )
    with Bus(broker) as bus, pytest.raises(Forbidden, match="Not authorized"):
        bus.device("scpi1/toy").call("echo", "x")
    assert command(site, "operator", *WRITE).code == 0
    assert toy.values["on"] is True


def test_over_mqtt_3_1_1_a_timeout_names_missing_rights_as_a_cause(
    site: Site, toy: Toy
) -> None:
    done = command(site, "viewer", "--protocol=3.1.1", *WRITE, "--timeout=0.5")
    error = json.loads(done.err)["error"]
    assert (done.code, error["code"]) == (5, "timeout")
    assert "no outcome within 0.5 s" in error["message"]
    assert "look at this user's rights" in error["message"]


@pytest.mark.parametrize("version", [V311, V5])
def test_the_largest_message_of_the_contract_passes_and_a_larger_one_is_refused(
    site: Site, version: MQTTProtocolVersion
) -> None:
    topic, largest = f"busbar/scpi1/psu/blob/{version}", 1024 * 1024
    with (
        site.client("viewer") as viewer,
        site.client("scpi1", version=version) as bridge,
    ):
        viewer.subscribe(topic)
        bridge.publish(topic, bytes(largest))
        bridge.publish_and_be_cut_off(topic, bytes(largest + 128 * 1024))
        viewer.subscribe("barrier")
        assert viewer.received == [(topic, largest)]


def test_with_client_certificates_the_common_name_is_the_user(
    certificate_site: Site,
) -> None:
    scpi1, viewer = (certificate_site.tls(client=user) for user in ("scpi1", "viewer"))
    with (
        certificate_site.client(None, tls=viewer) as reader,
        certificate_site.client(None, tls=scpi1) as bridge,
    ):
        reader.subscribe("#")
        bridge.publish("busbar/cip1/panel/status")
        bridge.publish("busbar/scpi1/psu/status")
        reader.subscribe("barrier")
        assert [topic for topic, _ in reader.received] == ["busbar/scpi1/psu/status"]


def test_with_client_certificates_a_password_alone_is_refused(
    certificate_site: Site,
) -> None:
    with (
        pytest.raises((RefusedError, ssl.SSLError, ConnectionError)),
        certificate_site.client("viewer"),
    ):
        pass


DEVICE = """
bridge: {{name: scpi1}}
broker: {{username: scpi1, password: "secret of scpi1", ca_file: {ca}}}
devices:
  - name: psu
    address: tcp::127.0.0.1:{psu}
    properties:
      - {{path: voltage, query: "MEAS1:VOLT?", every: 0.1, unit: V}}
"""


@pytest.fixture(scope="module")
def bridge(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A real bridge with the rights of a bridge."""
    folder = tmp_path_factory.mktemp("bridge")
    with simulator() as psu:
        text = DEVICE.format(ca=site.files / "ca.crt", psu=psu)
        with BridgeProcess(text, tls_url(site), folder):
            asked = (site, "get", "operator", "scpi1/psu", "voltage")
            until(lambda: examine(*asked).code == 0, "the voltage")
            yield


def examine(site: Site, command: str, user: str, *arguments: str) -> Done:
    """Run a command as a user."""
    (site.files / f"{user}.secret").write_text(secret(user))
    return busbar(
        command,
        *arguments,
        BUSBAR_URL=tls_url(site),
        BUSBAR_USERNAME=user,
        BUSBAR_PASSWORD_FILE=str(site.files / f"{user}.secret"),
        BUSBAR_CA_FILE=str(site.files / "ca.crt"),
    )


def conformance(site: Site, user: str, *options: str) -> dict[str, dict[str, Any]]:
    """Return the checks of a report in which nothing is violated, by sentence."""
    done = examine(site, "conformance", user, "scpi1", "--json", *options)
    assert done.code == 0, done.out
    return {each["sentence"]: each for each in done.json["checks"]}


@pytest.mark.usefixtures("bridge")
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_an_operator_examines_a_bridge_with_the_rights_of_the_acl(
    site: Site, protocol: str
) -> None:
    checks = conformance(site, "operator", "--active", "--protocol", protocol)
    private = next(
        each for name, each in checks.items() if "private reply topic" in name
    )
    assert (private["state"], private["why_not"]) == ("holds", None)
    outside = next(each for name, each in checks.items() if "topic outside" in name)
    assert outside["state"] == "holds"
    assert "may the user 'operator' write and read" in outside["why_not"]


@pytest.mark.usefixtures("bridge")
def test_what_a_viewer_may_not_try_is_not_tried_and_no_violation(site: Site) -> None:
    checks = conformance(site, "viewer", "--active", "--seconds", "1")
    active = [each for each in checks.values() if each["level"] == "active"]
    assert {each["state"] for each in active} == {"not tried"}
    why = [each["why_not"] for each in active]
    assert sum("may the user 'viewer' write and read" in each for each in why) > 15
