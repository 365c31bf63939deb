"""The broker does not let us: ACL, credentials, certificates.

And what happens when somebody mends that.
"""

import gc
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.broker import Mosquitto, find
from tests.faults.conftest import Record
from tests.faults.support import BEEP, TOY, Reader, kept, lab, live
from tests.toy import Toy, service

CERTIFICATES = Path(__file__).parents[2] / "mosquitto" / "certificates.sh"
OPEN = "topic readwrite #\n"


class Guarded:
    """A broker with an ACL (for anonymous clients and the user `bench`) that can be
    changed while it runs."""

    def __init__(self, folder: Path, bench: str) -> None:
        self._acl, self._passwords = folder / "acl", folder / "passwords"
        self.password("right")
        self._write(bench)
        self.broker = Mosquitto(
            f"acl_file {self._acl}", f"password_file {self._passwords}"
        )

    def _write(self, bench: str) -> None:
        self._acl.write_text(f"{OPEN}user bench\n{bench}")
        self._acl.chmod(0o600)

    def password(self, word: str) -> None:
        self._passwords.touch(0o600)
        command = [find("mosquitto_passwd"), "-b", str(self._passwords), "bench", word]
        subprocess.run(command, check=True, capture_output=True)

    def allow(self, bench: str) -> None:
        self._write(bench)
        self.reload()

    def reload(self) -> None:
        os.kill(self.broker.pid, signal.SIGHUP)


def credentials(word: str = "right") -> dict[str, str]:
    return {"username": "bench", "password": word}


@pytest.mark.parametrize(("protocol", "known"), [("5", True), ("3.1.1", False)])
async def test_denied_writes_show_as_gaps_and_are_counted_where_the_broker_tells(
    protocol: str,
    known: bool,
    tmp_path: Path,
    record: Record,
    caplog: pytest.LogCaptureFixture,
) -> None:
    guarded = Guarded(tmp_path, f"{OPEN}topic deny {BEEP}\n")
    with guarded.broker as broker:
        async with lab(broker, protocol=protocol, **credentials()) as it:
            await it.burst(50)
            await it.live.until(lambda: it.live.quiet, "quiet")
            await it.live.pass_time(11)  # floods are reported every ten seconds
            complaints = [
                each
                for each in caplog.records
                if BEEP in each.message and each.levelno >= logging.WARNING
            ]
            assert bool(complaints) == known
            guarded.allow(OPEN)
            await it.live.until(
                lambda: emits(it.outlet, it.reader), "the first event after that"
            )
            await it.live.until(lambda: it.live.quiet, "quiet")
            dropped, missing = it.live.dropped, len(it.reader.missing(BEEP))
            assert missing >= 50
            assert dropped == (missing if known else 0)
            record(
                f"ACL denies a topic to the bridge, MQTT {protocol}",
                "the gap in seq, the count and a log line; works as soon as the ACL "
                "allows it"
                if known
                else (
                    "the gap in seq; more nobody can know, the broker says it has "
                    "taken them"
                ),
                (
                    f"{missing} missing = gap in seq, {dropped} dropped, "
                    f"{len(complaints)} log lines, 0 restarts"
                ),
            )


def emits(outlet: object, reader: Reader) -> bool:
    outlet.event("beep", {"number": -1})  # type: ignore[attr-defined]
    return bool(reader.seqs[BEEP])


async def test_a_bridge_that_may_not_write_anything_does_not_talk_itself_into_a_storm(
    tmp_path: Path, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = Guarded(tmp_path, "topic read #\n")
    with guarded.broker as broker:
        async with (
            Reader(broker.port) as reader,
            live(service(Toy()), broker.url, **credentials()) as one,
        ):
            await one.pass_time(20)
            caplog.clear()
            await one.pass_time(60)
            lines = len(
                [each for each in caplog.records if each.levelno >= logging.WARNING]
            )
            assert not reader.newest
            guarded.allow(OPEN)
            await one.pass_time(62)
            await one.until(lambda: reader.value("level") is not None, "the snapshot")
            assert lines <= 30, (
                "a line about a refused log event is an event that is refused"
            )
            record(
                "ACL denies every write, MQTT 5",
                (
                    "a few log lines a minute, no storm; with the ACL mended the "
                    "snapshot "
                    "follows within a minute"
                ),
                (
                    f"{lines} log lines in a minute (virtual), snapshot there after "
                    f"the "
                    f"next heartbeat"
                ),
            )


async def test_commands_work_as_soon_as_a_denied_read_is_allowed(
    tmp_path: Path, record: Record
) -> None:
    guarded = Guarded(tmp_path, "topic write #\n")
    with guarded.broker as broker:
        async with lab(broker, **credentials()) as it:
            it.reader.publish(f"{TOY}/call/echo", "unheard")
            it.outlet.values({"level": 8.0})
            await it.live.until(lambda: it.reader.value("level") == 8.0, "values")
            assert not it.reader.on(f"{TOY}/reply")
            guarded.allow(OPEN)
            await it.live.until(lambda: asks(it.reader), "an answered command")
            assert "unheard" not in it.toy.did
            record(
                "ACL denies reading commands (the broker says `granted` all the same)",
                (
                    "values flow; a command that did not reach us never runs later; "
                    "works "
                    "when the ACL allows it"
                ),
                (
                    "values served, 0 of 1 commands heard while denied, served after "
                    "the "
                    "change, 0 restarts, 0 late"
                ),
            )


def asks(reader: Reader) -> bool:
    reader.publish(f"{TOY}/call/echo", "heard")
    return bool(reader.on(f"{TOY}/reply"))


async def test_wrong_credentials_are_said_once_and_tried_until_they_are_right(
    tmp_path: Path, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = Guarded(tmp_path, OPEN)
    with guarded.broker as broker:
        async with live(
            service(Toy()), broker.url, connects=False, **credentials("new")
        ) as one:
            await one.until(lambda: refused(broker) >= 3, "three attempts")
            said = [
                each
                for each in caplog.records
                if "Not authorized" in each.message and each.levelname == "WARNING"
            ]
            assert len(said) == 1
            guarded.password("new")
            guarded.reload()
            await one.until(one.bridge.connected.is_set, "the connection")
            await one.until(lambda: one.quiet, "quiet")
            assert f"{TOY}/state" in await kept(broker.port)
            record(
                "wrong password",
                (
                    "one warning with the reason, attempts at most every 3 s, in as "
                    "soon "
                    "as it is right"
                ),
                (
                    f"{refused(broker)} attempts, {len(said)} warning, online after "
                    f"the "
                    f"broker learned the password"
                ),
            )


def refused(broker: Mosquitto) -> int:
    return broker.log.count("disconnected, not authorised")


class Tls:
    """A broker with certificates that can be made again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.renew()
        self.expire()
        names = {"cafile": "ca.crt", "certfile": "server.crt", "keyfile": "server.key"}
        self.broker = Mosquitto(
            *(f"{option} {folder}/{name}" for option, name in names.items())
        )

    def renew(self) -> None:
        subprocess.run(
            [CERTIFICATES, self.folder, "broker"], check=True, capture_output=True
        )

    def expire(self) -> None:
        """Replace the broker's certificate by one that ended yesterday, of the same
        authority."""
        folder = self.folder
        (folder / "index").write_text("")
        (folder / "serial").write_text("1000\n")
        (folder / "ca.cnf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index\nserial={folder}/serial\nnew_certs_dir={folder}\n"
            "default_md=sha256\npolicy=p\nx509_extensions=x\n[p]\ncommonName=supplied\n"
            "[x]\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n"
        )
        openssl = [
            "openssl",
            "req",
            "-new",
            "-key",
            "server.key",
            "-subj",
            "/CN=broker",
            "-out",
            "old.req",
        ]
        subprocess.run(openssl, cwd=folder, check=True, capture_output=True)
        sign = [
            "openssl",
            "ca",
            "-batch",
            "-config",
            "ca.cnf",
            "-cert",
            "ca.crt",
            "-keyfile",
            "ca.key",
        ]
        dates = ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"]
        subprocess.run(
            [*sign, *dates, "-in", "old.req", "-out", "server.crt"],
            cwd=folder,
            check=True,
            capture_output=True,
        )

    @property
    def url(self) -> str:
        return self.broker.url.replace("mqtt:", "mqtts:")


@pytest.fixture
def tidy(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let go of what the log keeps alive, while the test may still ignore what is said
    of it."""
    yield
    caplog.get_records("call").clear()
    gc.collect()


# paho leaves the socket of a failed handshake to the garbage collector, which says so
unclosed = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. "
    "<ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)


@unclosed
@pytest.mark.usefixtures("tidy")
async def test_an_expired_certificate_is_named_and_its_renewal_is_enough(
    tmp_path: Path, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    tls = Tls(tmp_path)
    with tls.broker as broker:
        async with live(
            service(Toy()), tls.url, connects=False, ca_file=f"{tmp_path}/ca.crt"
        ) as one:
            await one.until(said(caplog, "certificate has expired"), "the reason")
            tls.renew()
            os.kill(broker.pid, signal.SIGHUP)
            broker.restart()
            await one.until(one.bridge.connected.is_set, "the connection")
            record(
                "the broker's certificate has expired",
                "named in the log; nothing is sent; in as soon as it is renewed",
                (
                    "0 messages to an unproven broker, online after the renewal, 0 "
                    "restarts of the bridge"
                ),
            )


@unclosed
@pytest.mark.usefixtures("tidy")
async def test_a_certificate_file_that_is_missing_during_a_reconnect_is_only_waited_for(
    tmp_path: Path, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    tls = Tls(tmp_path)
    tls.renew()
    with tls.broker as broker:
        async with live(service(Toy()), tls.url, ca_file=f"{tmp_path}/ca.crt") as one:
            (tmp_path / "ca.crt").rename(tmp_path / "away")
            broker.kill()
            await one.until(said(caplog, "ca.crt"), "the reason")
            (tmp_path / "away").rename(tmp_path / "ca.crt")
            broker.start()
            await one.until(
                lambda: one.bridge.connected.is_set() and one.reconnects == 1,
                "the connection",
            )
            record(
                (
                    "a TLS file is missing while the bridge connects again (a renewal "
                    "under way)"
                ),
                "tried again like any other reason",
                (
                    f"online when the file was back, {one.reconnects} reconnect, 0 "
                    f"restarts of the bridge"
                ),
            )


def said(caplog: pytest.LogCaptureFixture, words: str) -> Callable[[], bool]:
    return lambda: any(words in each.message for each in caplog.records)
