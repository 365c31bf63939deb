"""TLS to a device: who is trusted, and what is said of others."""

import asyncio
import socket
import ssl
import subprocess
from contextlib import asynccontextmanager

import pytest

from busbar.errors import ConfigError, LinkLost
from busbar.net.endpoint import Endpoint
from busbar.net.streams import open_tcp
from busbar.net.tls import server_context, trust
from tests.broker import find
from tests.certificates import fingerprint, self_signed


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def greeting(context=None):
    """A device that says hello; gives its port."""

    async def connected(reader, writer):
        try:
            writer.write(b"hello")
            await reader.read()
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("how", ["ca_file", "fingerprint", "insecure"])
async def test_each_way_to_trust_a_certificate(certificate, how):
    ways = {
        "ca_file": certificate[0],
        "fingerprint": fingerprint(certificate[0]),
        "insecure": True,
    }
    async with greeting(server_context(*certificate)) as port:
        stream = await open_tcp(
            "127.0.0.1", port, "device", trust=trust(**{how: ways[how]})
        )
        assert await stream.read() == b"hello"
        await stream.close()


@pytest.mark.parametrize(
    ("ways", "why"),
    [
        ({}, ("not trusted: self.signed certificate; allowed: ")),
        ({"fingerprint": "00" * 32}, "has the fingerprint"),
    ],
)
async def test_any_other_certificate_is_refused_with_what_would_do(
    certificate, ways, why
):
    async with greeting(server_context(*certificate)) as port:
        with pytest.raises(LinkLost, match=why):
            await open_tcp("127.0.0.1", port, "device", trust=trust(**ways))


async def test_a_port_without_tls_is_named():
    async with greeting() as port:
        with pytest.raises(LinkLost, match=f"no TLS with 127.0.0.1:{port}: "):
            await open_tcp("127.0.0.1", port, "device", trust=trust(insecure=True))


async def test_a_port_where_nobody_answers_in_tls_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            LinkLost,
            match=(
                rf"no TLS connection to "
                rf"127\.0\.0\.1:{port} within 0\.2 s"
            ),
        ):
            await open_tcp("127.0.0.1", port, "device", 0.2, trust(insecure=True))


def test_files_that_cannot_be_used_are_found_at_once(tmp_path):
    with pytest.raises(ConfigError, match="ca_file"):
        trust(str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match="cert_file"):
        server_context(str(tmp_path / "none.pem"), None)


async def test_a_certificate_of_ours_shows_who_we_are(certificate):
    context = server_context(*certificate)
    context.load_verify_locations(certificate[0])
    context.verify_mode = ssl.CERT_REQUIRED
    async with greeting(context) as port:
        ours = trust(certificate[0], cert_file=certificate[0], key_file=certificate[1])
        stream = await open_tcp("127.0.0.1", port, "device", trust=ours)
        assert await stream.read() == b"hello"
        await stream.close()


def test_a_certificate_of_ours_that_cannot_be_used_is_told(certificate):
    with pytest.raises(ConfigError, match="cert_file /nowhere"):
        trust(cert_file="/nowhere", key_file=certificate[1])


def test_a_key_with_a_passphrase_is_refused_instead_of_asked_about(
    certificate, tmp_path
):
    locked = str(tmp_path / "locked.pem")
    command = [
        find("openssl"),
        "ec",
        "-in",
        certificate[1],
        "-out",
        locked,
        "-aes256",
        "-passout",
        "pass:secret",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with pytest.raises(
        ConfigError, match=(f"key_file {locked}: the key has a passphrase")
    ):
        server_context(certificate[0], locked)
    with pytest.raises(ConfigError, match="passphrase"):
        Endpoint(
            "mqtts://host", cert_file=certificate[0], key_file=locked
        ).ssl_context()
