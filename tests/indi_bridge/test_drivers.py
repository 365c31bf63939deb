"""How drivers are asked for: a FIFO that nobody reads, a web manager that refuses."""

import asyncio
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from busbar.bridge import DeviceRefused, LinkLost
from indi_bridge.drivers import ask
from indi_bridge.settings import Drivers


class Manager(BaseHTTPRequestHandler):
    """The web manager's answers: it knows one driver by its label."""

    asked: list[str] = []  # noqa: RUF012

    def do_POST(self) -> None:
        Manager.asked.append(self.path)
        known = self.path.endswith("/Focuser%20Simulator")
        self.send_response(200 if known else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def manager() -> Iterator[str]:
    Manager.asked.clear()
    server = HTTPServer(("127.0.0.1", 0), Manager)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


async def test_a_fifo_gets_a_line(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    await ask(Drivers(fifo=str(fifo)), "start", "indi_simulator_gps")
    assert os.read(reader, 100) == b"start indi_simulator_gps\n"
    os.close(reader)


async def test_a_fifo_that_nobody_reads_does_not_block(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(LinkLost, match="no indiserver reads it"):
        await ask(Drivers(fifo=str(fifo)), "start", "indi_simulator_gps")


async def test_a_file_is_no_fifo(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LinkLost, match="is no FIFO"):
        await ask(Drivers(fifo=str(tmp_path / "file")), "start", "indi_x")
    with pytest.raises(LinkLost, match="No such file"):
        await ask(Drivers(fifo=str(tmp_path / "nothing")), "start", "indi_x")


async def test_the_web_manager_is_asked_by_label(manager: str) -> None:
    await ask(Drivers(manager=manager), "stop", "Focuser Simulator")
    assert Manager.asked == ["/api/drivers/stop/Focuser%20Simulator"]
    with pytest.raises(DeviceRefused, match="refuses to start 'Nothing'"):
        await ask(Drivers(manager=manager), "start", "Nothing")


async def test_a_web_manager_that_is_not_there() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(LinkLost, match="refused"):
        await ask(Drivers(manager=f"http://127.0.0.1:{port}"), "start", "x")


@pytest.mark.parametrize("given", [{}, {"fifo": "x", "manager": "http://x"}])
def test_exactly_one_way_is_configured(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="either fifo or manager"):
        Drivers(**given)
