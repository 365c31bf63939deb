"""Changes of a folder, as the kernel tells them (inotify)."""

import asyncio
import ctypes
import ctypes.util
import errno
import os
from pathlib import Path

_ATTRIB, _MOVED_TO = 0x004, 0x080
_CREATE, _DELETE = 0x100, 0x200
_NONBLOCK = os.O_NONBLOCK | os.O_CLOEXEC
SIZE = 65536  # bytes of one read; what is in them does not matter
POLL = 1.0  # s between looks where the kernel has no watch left for us


async def until_changed(folder: Path, limit: float) -> None:
    """Wait until a file of a folder comes, goes or changes its rights, at most so long.

    Without inotify (all watches are taken) return after a moment.
    """
    try:
        watch = _watch(folder)
    except OSError:
        await asyncio.sleep(min(limit, POLL))
        return
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    loop.add_reader(watch, changed.set)
    try:
        async with asyncio.timeout(limit):
            await changed.wait()
    except TimeoutError:
        pass
    finally:
        loop.remove_reader(watch)
        os.close(watch)


def _watch(folder: Path) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    watch: int = libc.inotify_init1(_NONBLOCK)
    if watch < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    events = _ATTRIB | _MOVED_TO | _CREATE | _DELETE
    if libc.inotify_add_watch(watch, os.fsencode(folder), events) < 0:
        number = ctypes.get_errno() or errno.EINVAL
        os.close(watch)
        raise OSError(number, "inotify_add_watch", str(folder))
    return watch
