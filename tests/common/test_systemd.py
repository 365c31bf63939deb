"""Telling a service manager of readiness. Source: sd_notify(3)."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from busbar.runtime.systemd import notify, watchdog
from busbar.testing.fakes import Clock, settle


def listening(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind(address)
    return sock


def test_nobody_is_told_where_nobody_listens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


def test_a_path_and_an_abstract_name_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    name = f"busbar-{os.getpid()}"
    path = str(tmp_path / "n")
    for shown, address in ((path, path), (f"@{name}", f"\0{name}")):
        with listening(address) as manager:
            monkeypatch.setenv("NOTIFY_SOCKET", shown)
            notify("READY=1")
            assert manager.recv(100) == b"READY=1"


async def test_the_watchdog_is_fed_twice_in_its_period(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with listening(str(tmp_path / "n")) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        monkeypatch.setenv("WATCHDOG_USEC", "10000000")
        feeding = asyncio.create_task(watchdog())
        await settle()
        assert manager.recv(100) == b"WATCHDOG=1"
        await Clock().advance(5)
        assert manager.recv(100) == b"WATCHDOG=1"
        feeding.cancel()


async def test_without_a_watchdog_nothing_is_fed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    await asyncio.wait_for(watchdog(), 5)
