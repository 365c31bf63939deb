"""A bridge inside TLS, in both roles."""

import re

import pytest

from busbar.errors import Retry
from busbar.net.tls import server_context, trust
from busbar.testing.fakes import until
from cip_bridge.bridge import SERVICE
from cip_bridge.panel_role.link import open_stream
from cip_bridge.refusals import Unreachable
from cip_bridge.simulator.__main__ import Simulator
from tests.broker import free_port
from tests.certificates import fingerprint, self_signed
from tests.cip_bridge.theatre import hurried, statuses
from tests.running import running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls"))


async def test_where_nobody_listens_is_tried_ever_more_slowly():
    port = free_port()
    for trusted in (None, trust(insecure=True)):
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port}: Connect") as error:
            await open_stream("127.0.0.1", port, trusted, "panel", 5.0)
        assert error.value.retry == Retry(1, 20, firm=True)


async def test_a_bridge_is_a_panel_of_a_processor_inside_tls(certificate):
    server = Simulator(tls=server_context(*certificate))
    async with server as simulator:
        # as openssl prints it
        colons = ":".join(re.findall("..", fingerprint(certificate[0]).upper()))
        text = f"""
bridge: {{name: theatre}}
devices:
  - {{name: pinned, address: '{simulator.address}', ipid: 0x0A, room: one,
      fingerprint: '{colons}'}}
  - {{name: signed, address: '{simulator.address}', ipid: 0x0A, room: two,
      ca_file: {certificate[0]}}}
  - {{name: strange, address: '{simulator.address}', ipid: 0x0A}}
"""
        async with running(SERVICE, text) as bus:
            for name in ("pinned", "signed"):
                await bus.status(name, "online")
                assert await bus.value(name, "serial/1") == "Theatre"
            await until(
                lambda: (
                    "not trusted"
                    in bus.retained("strange", "status")["reason"]["message"]
                )
            )


async def test_panels_connect_to_a_bridge_inside_tls(certificate):
    cert, key = certificate
    text = f"""
bridge: {{name: stage}}
devices:
  - name: xpanel
    address: cips::127.0.0.1:{free_port()}
    ipid: 0x03
    mode: processor
    cert_file: {cert}
    key_file: {key}
"""
    async with running(SERVICE, text) as bus:
        await bus.status("xpanel", "online")
        place = bus.retained("xpanel", "info")["address"]
        home = (
            f"bridge: {{name: home}}\ndevices: "
            f"[{{name: p, address: '{place}', ipid: 0x03, insecure: true}}]"
        )
        async with running(SERVICE, home) as panels:
            await panels.status("p", "online")
            await panels.set("p", "serial/1", "hello")
            assert await bus.value("xpanel", "serial/1") == "hello"


async def test_the_wrong_scheme_is_told(certificate):
    async with Simulator() as plain, Simulator(tls=server_context(*certificate)) as tls:
        text = f"""
bridge: {{name: theatre}}
devices:
  - {{name: a, address: 'cips::127.0.0.1:{plain.listener.port}', ipid: 0x0A,
      insecure: true}}
  - {{name: b, address: 'cip::127.0.0.1:{tls.listener.port}', ipid: 0x0A}}
"""
        async with running(SERVICE, text) as bus:
            for name, hint in (("a", "then the address is cip::"), ("b", "(cips:: or")):
                told = lambda n=name, h=hint: any(  # noqa: E731
                    h in (each["reason"] or {}).get("message", "")
                    for each in statuses(bus, n)
                )
                await hurried(bus, until(told, hint))
