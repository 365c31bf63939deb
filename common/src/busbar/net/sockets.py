"""Unsent and acknowledged bytes of a socket, and a connect beside the loop."""

import asyncio
import contextlib
import fcntl
import socket
import sys
import termios
import threading
from collections.abc import Callable
from typing import Any


def unsent(sock: Any) -> int:
    """Return the bytes that the other side has not acknowledged."""
    return int.from_bytes(
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder
    )


def taken(sock: Any) -> int:
    """Return a number that changes with each byte that the other side acknowledges.

    Source: linux/tcp.h, tcp_info.
    """
    if sock.family == socket.AF_UNIX:
        return -unsent(sock)
    return int.from_bytes(
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)[120:128],
        sys.byteorder,
    )


def no_delay(_client: Any, _userdata: Any, sock: Any) -> None:
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def in_thread(call: Callable[[], None]) -> None:
    """Run a blocking call in a daemon thread, which holds up no end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: Exception | None) -> None:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    def run() -> None:
        failure: Exception | None = None
        try:
            call()
        except (OSError, ValueError) as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop may be gone
            loop.call_soon_threadsafe(finish, failure)

    threading.Thread(target=run, name="mqtt-connect", daemon=True).start()
    await done
