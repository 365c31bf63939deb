"""How to reach a broker: url, credentials, TLS; no message ever shows a password."""

import ssl
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.errors import ConfigError
from busbar.net.endpoint import Endpoint

# Made for this test with `openssl req -x509 -newkey ec`; it protects nothing.
KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgS3/A3vDHlGDVlPXU
BqYDI/GDMejD6u5felJ9ul8fDrihRANCAAS0hY7lY/dYbMz6c0LUWxEIgJn7Sg/3
PCUzua7TehCKR2nxpUJpl19QpxUGNQ4KwxaBdlspoWXnXoG5SXKAg1PN
-----END PRIVATE KEY-----
"""
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBbjCCARWgAwIBAgIUZg++eSiAF0HUKWQ4bRZOGe8nJycwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBdDAgFw0yNjExMjAxMzA2NDdaGA8yMTI2MTAyNzEzMDY0N1ow
DDEKMAgGA1UEAwwBdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLSFjuVj91hs
zPpzQtRbEQiAmftKD/c8JTO5rtN6EIpHafGlQmmXX1CnFQY1DgrDFoF2WymhZede
gblJcoCDU82jUzBRMB0GA1UdDgQWBBScaep4SNNJTxjqggKh6y4YfQD5+DAfBgNV
HSMEGDAWgBScaep4SNNJTxjqggKh6y4YfQD5+DAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0cAMEQCIE0wLFGZ4WjkofZzTogvumyph8w20UZDFEEUVTCE94E+
AiBToHdO7RECwjdoFuNYg4LR0SH+fJ7aa5ohJdXsnr6DKw==
-----END CERTIFICATE-----
"""


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "unix"),
    [
        ("mqtt://broker", "broker", 1883, False, False),
        ("mqtts://broker", "broker", 8883, True, False),
        ("mqtt://broker:2883", "broker", 2883, False, False),
        ("mqtts://10.0.0.5:443", "10.0.0.5", 443, True, False),
        ("mqtt://[::1]", "::1", 1883, False, False),
        ("mqtts://[fe80::1]:2883", "fe80::1", 2883, True, False),
        ("mqtt://user:secret@broker:2883", "broker", 2883, False, False),
        ("mqtt://user:secret@[::1]:2883", "::1", 2883, False, False),
        ("MQTT://Broker", "broker", 1883, False, False),
        ("unix:///run/mosquitto.sock", "/run/mosquitto.sock", 1883, False, True),
    ],
)
def test_a_url_says_where_the_broker_is(url, host, port, tls, unix):
    endpoint = Endpoint(url)
    assert (endpoint.host, endpoint.port, endpoint.tls, endpoint.unix) == (
        host,
        port,
        tls,
        unix,
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        "broker",
        "broker:1883",
        "http://broker",
        "tcp://broker",
        "mqtt://",
        "mqtt:///x",
        "mqtt://:1883",
        "mqtt:broker",
        "ws://broker",
        "unix://",
        "unix:",
        "unix://run/mosquitto.sock",
    ],
)
def test_another_url_is_refused_with_what_is_allowed(url):
    with pytest.raises(
        ConfigError, match="allowed are mqtt://host, mqtts://host, unix:///path"
    ):
        Endpoint(url)


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://broker:x",
        "mqtt://broker:65536",
        "mqtt://broker:-1",
        "mqtt://[::1",
        "mqtt://[x]",
    ],
)
def test_a_host_or_port_that_cannot_be_read_is_refused(url):
    with pytest.raises(ConfigError, match="host or port"):
        Endpoint(url)


@pytest.mark.parametrize(
    ("endpoint", "username", "password"),
    [
        (Endpoint("mqtt://broker"), None, None),
        (Endpoint("mqtt://bench:secret@broker"), "bench", "secret"),
        (Endpoint("mqtt://bench@broker"), "bench", None),
        (Endpoint("mqtt://b%40nch:s%2Fe%3Acret@broker"), "b@nch", "s/e:cret"),
        (Endpoint("mqtt://broker", "bench", "secret"), "bench", "secret"),
        (Endpoint("mqtt://other:old@broker", "bench", "secret"), "bench", "secret"),
        (Endpoint("mqtt://bench@broker", password="secret"), "bench", "secret"),
        (Endpoint("unix:///run/m.sock", "bench", "secret"), "bench", "secret"),
    ],
)
def test_credentials_come_from_the_url_or_beside_it(endpoint, username, password):
    assert endpoint.credentials == (username, password)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mqtt://broker:2883", "mqtt://broker:2883"),
        ("mqtt://bench:secret@broker:2883", "mqtt://broker:2883"),
        ("mqtts://bench:s%40cret@[::1]:2883", "mqtts://[::1]:2883"),
        ("mqtt://bench:s@cret@broker", "mqtt://broker"),
        ("unix:///run/b@nch.sock", "unix:///run/b@nch.sock"),
    ],
)
def test_the_url_is_shown_without_credentials(url, shown):
    assert Endpoint(url).shown == shown


@pytest.mark.parametrize(
    "url",
    [
        "http://bench:secret@broker",
        "mqtt://bench:secret@broker:x",
        "mqtt://bench:secret/1@broker",
        "bench:secret@broker",
        "mqtt://bench:sec#secret@broker",
        "mqtt://bench:secret?@broker",
        "mqtt://bench:secret@[::1",
        "mqtt://bench:secret@",
        "mqtt://bench:x[secret@broker",
    ],
)
def test_a_refused_url_does_not_show_its_password_however_badly_it_is_quoted(url):
    with pytest.raises(ConfigError) as caught:
        Endpoint(url)
    assert "secret" not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.text(max_size=30), st.sampled_from(["mqtt://", "mqtts://", "unix://", ""]))
def test_any_url_is_taken_or_refused(text, scheme):
    try:
        endpoint = Endpoint(scheme + text)
    except ConfigError:
        return
    assert endpoint.host
    assert 0 < endpoint.port < 65536


def files(folder: Path, **contents: str) -> dict[str, str]:
    for name, text in contents.items():
        (folder / f"{name}.pem").write_text(text)
    return {name: str(folder / f"{name}.pem") for name in contents}


def test_the_brokers_certificate_is_checked_unless_told_otherwise():
    context = Endpoint("mqtts://broker").ssl_context()
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    context = Endpoint("mqtts://broker", insecure=True).ssl_context()
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_NONE)


def test_own_certificates_are_loaded(tmp_path):
    made = files(tmp_path, ca_file=CERTIFICATE, cert_file=CERTIFICATE, key_file=KEY)
    context = Endpoint("mqtts://broker", **made).ssl_context()
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(
    "broken",
    [
        {"ca_file": "nonsense"},
        {"ca_file": ""},
        {"cert_file": "nonsense", "key_file": KEY},
        {"cert_file": CERTIFICATE, "key_file": "nonsense"},
        {"cert_file": CERTIFICATE},
    ],
)
def test_a_tls_file_that_cannot_be_used_is_named(tmp_path, broken):
    made = files(tmp_path, **broken)
    with pytest.raises(ConfigError, match="_file ") as caught:
        Endpoint("mqtts://broker", **made).ssl_context()
    assert all(path in str(caught.value) for path in made.values())


@pytest.mark.parametrize("key", ["ca_file", "cert_file"])
def test_a_tls_file_that_is_missing_is_named(tmp_path, key):
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(ConfigError, match=r"missing.pem.*No such file"):
        Endpoint("mqtts://broker", **{key: missing}).ssl_context()
