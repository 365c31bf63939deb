"""Readiness and watchdog notification for systemd; silent where nobody listens.

Source: sd_notify(3).
"""

import asyncio
import os
import socket


def notify(message: str) -> None:
    """Tell the service manager, e.g. `READY=1`."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect(address)
        sock.send(message.encode())


async def watchdog() -> None:
    """Feed the watchdog at half its period for as long as the event loop runs.

    Return if there is none.
    """
    period = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
    if period <= 0:
        return
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(period / 2)
