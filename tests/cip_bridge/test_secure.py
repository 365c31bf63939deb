"""TLS to a processor: who is trusted, and what is said of others."""

import hashlib
import re
import ssl
import subprocess
from contextlib import asynccontextmanager

import pytest

from busbar.codecs import cip
from busbar.errors import ConfigError, Retry
from busbar.testing import until
from cip_bridge.bridge import SERVICE
from cip_bridge.device import Unreachable
from cip_bridge.secure import open_stream, server_context, trust
from cip_bridge.simulator import Simulator
from tests.broker import find, free_port
from tests.cip_bridge.peer import Peer
from tests.running import running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1, as processors have them: (cert, key)."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += [
        "-keyout",
        key,
        "-out",
        cert,
        "-days",
        "2",
        "-subj",
        "/CN=CP4",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return str(cert), str(key)


def fingerprint(cert):
    with open(cert) as file:  # noqa: PTH123  # a test
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest()


@asynccontextmanager
async def opened(simulator, trusted, timeout=5.0):
    stream = await open_stream("127.0.0.1", simulator.listener.port, trusted, "panel", timeout)
    try:
        yield Peer(stream)
    finally:
        await stream.close()


@pytest.mark.parametrize("how", ["ca_file", "fingerprint", "insecure"])
async def test_each_way_to_trust_a_certificate(certificate, how):
    ways = {"ca_file": certificate[0], "fingerprint": fingerprint(certificate[0]), "insecure": True}
    server, trusted = Simulator(tls=server_context(*certificate)), trust(**{how: ways[how]})
    async with server as simulator, opened(simulator, trusted) as peer:
        await peer.hears(cip.Hello())


@pytest.mark.parametrize(
    ("ways", "why"),
    [({}, "not trusted: self.signed certificate; allowed: "), ({"fingerprint": "00" * 32}, "has the fingerprint")],
)
async def test_any_other_certificate_is_refused_with_what_would_do(certificate, ways, why):
    async with Simulator(tls=server_context(*certificate)) as simulator:
        with pytest.raises(Unreachable, match=why):
            async with opened(simulator, trust(**ways)):
                pass


async def test_a_port_without_tls_or_without_anybody_is_unreachable():
    async with Simulator() as simulator:
        with pytest.raises(Unreachable, match=r"no TLS connection to 127\.0\.0\.1:\d+ within 0\.2 s"):
            async with opened(simulator, trust(insecure=True), 0.2):
                pass
        port = simulator.listener.port
    for trusted in (None, trust(insecure=True)):
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port}: Connect") as error:
            await open_stream("127.0.0.1", port, trusted, "panel", 5.0)
        assert error.value.retry == Retry(1, 120)


def test_files_that_cannot_be_used_are_found_at_once(tmp_path):
    with pytest.raises(ConfigError, match="ca_file"):
        trust(str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match="cert_file"):
        server_context(str(tmp_path / "none.pem"), None)


async def test_a_bridge_is_a_panel_of_a_processor_inside_tls(certificate):
    server = Simulator(tls=server_context(*certificate))
    async with server as simulator:
        colons = ":".join(re.findall("..", fingerprint(certificate[0]).upper()))  # as openssl prints it
        text = f"""
bridge: {{name: theatre}}
devices:
  - {{name: pinned, address: '{simulator.address}', ipid: 0x0A, fingerprint: '{colons}'}}
  - {{name: signed, address: '{simulator.address}', ipid: 0x0A, ca_file: {certificate[0]}}}
  - {{name: strange, address: '{simulator.address}', ipid: 0x0A}}
"""
        async with running(SERVICE, text) as bus:
            for name in ("pinned", "signed"):
                await bus.status(name, "online")
                assert await bus.value(name, "serial/1") == "Theatre"
            await until(lambda: "not trusted" in bus.retained("strange", "status")["reason"]["message"])


async def test_panels_connect_to_a_bridge_inside_tls(certificate):
    cert, key = certificate
    text = f"""
bridge: {{name: stage}}
devices:
  - name: xpanel
    address: cips::127.0.0.1:{free_port()}
    ipid: 3
    mode: processor
    cert_file: {cert}
    key_file: {key}
"""
    async with running(SERVICE, text) as bus:
        await bus.status("xpanel", "online")
        place = bus.retained("xpanel", "info")["address"]
        home = f"bridge: {{name: home}}\ndevices: [{{name: p, address: '{place}', ipid: 3, insecure: true}}]"
        async with running(SERVICE, home) as panels:
            await panels.status("p", "online")
            await panels.set("p", "serial/1", "hello")
            assert await bus.value("xpanel", "serial/1") == "hello"
