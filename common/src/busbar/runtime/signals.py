"""Signals of the process: the first asks for an end, the same again ends it at once."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from busbar.runtime import log as process_log

log = logging.getLogger("busbar.service")

ENDS = (signal.SIGTERM, signal.SIGINT)
FLUSH = 0.5  # s that an end at once waits for the consumer of the log
EXIT_SIGNAL = 128  # plus the signal's number, as shells say it


@contextlib.contextmanager
def handled(stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
    """React to signals on a thread of its own: a blocked loop would not.

    `stop` and `reload` are called on the loop that runs now.
    """
    loop = asyncio.get_running_loop()
    arrived, woken = socket.socketpair()
    woken.setblocking(False)
    before = {each: signal.signal(each, _ignore) for each in (*ENDS, signal.SIGHUP)}
    wakeup = signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    arguments = (arrived, loop, stop, reload)
    reactor = threading.Thread(
        target=_react, args=arguments, name="signals", daemon=True
    )
    reactor.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        woken.close()  # the end of the thread
        reactor.join()
        arrived.close()


def _ignore(number: int, frame: Any) -> None:
    """Leave it to the thread: without a handler the signal would act itself."""


def _react(
    arrived: socket.socket,
    loop: asyncio.AbstractEventLoop,
    stop: Callable[[], None],
    reload: Callable[[], None],
) -> None:
    # each counts for itself: a terminal and who started us may send one each
    seen: set[int] = set()
    while numbers := arrived.recv(64):
        for number in numbers:
            if number == signal.SIGHUP:
                _call(loop, reload)
            elif number in seen:
                _end_at_once(number)
            elif number in ENDS:
                seen.add(number)
                _call(loop, stop)


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(what)


def _end_at_once(number: int) -> None:
    log.error("%s came twice: ending at once", signal.Signals(number).name)
    process_log.flush(FLUSH)
    os._exit(EXIT_SIGNAL + number)
