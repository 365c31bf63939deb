"""Control of a server's drivers: indiserver's FIFO, or the INDI web manager.

Source: indiserver(1), option -f; <https://github.com/knro/indiwebmanager>.
"""

import asyncio
import errno
import os
import stat
import urllib.error
import urllib.request
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from busbar.bridge import DeviceRefused, LinkLost
from indi_bridge.settings import Drivers

Verb = Literal["start", "stop"]

ANSWER = 10.0  # s for the web manager


async def ask(settings: Drivers, verb: Verb, driver: str) -> None:
    """Ask for the start or stop of a driver.

    Raise DeviceRefused where it is refused, LinkLost where nobody takes the request.
    """
    if settings.fifo is not None:
        _write(Path(settings.fifo), f"{verb} {driver}\n")
    else:
        await asyncio.to_thread(_post, f"{settings.manager}/api/drivers", verb, driver)


def _write(fifo: Path, line: str) -> None:
    """Write a line; never wait for a server that does not read."""
    try:
        file = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        why = error.strerror
        if error.errno == errno.ENXIO:
            why = "no indiserver reads it (its option -f)"
        raise LinkLost(f"drivers: fifo: {fifo}: {why}") from error
    try:
        if not stat.S_ISFIFO(os.fstat(file).st_mode):
            raise LinkLost(f"drivers: fifo: {fifo} is no FIFO")
        os.write(file, line.encode())
    except BlockingIOError as error:
        raise LinkLost(f"drivers: fifo: {fifo}: indiserver does not read") from error
    finally:
        os.close(file)


def _post(url: str, verb: Verb, driver: str) -> None:
    """Ask the web manager, which knows drivers by their label."""
    request = urllib.request.Request(f"{url}/{verb}/{quote(driver)}", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER):
            pass
    except urllib.error.HTTPError as error:
        text = f"the web manager refuses to {verb} {driver!r}: {error.reason}"
        raise DeviceRefused(text, status=error.code) from error
    except (urllib.error.URLError, TimeoutError) as error:
        raise LinkLost(f"drivers: manager: {error}") from error
