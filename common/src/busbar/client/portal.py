"""Threads of blocking use.

One that runs the event loop, and workers that run callbacks.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Portal:
    """An event loop in a daemon thread: work runs there while the caller waits."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="busbar-client", daemon=True
        )
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine and return its result.

        Raise its error, TimeoutError after `timeout` (s).
        """
        if threading.current_thread() is self._thread or self._loop.is_closed():
            work.close()
            raise RuntimeError(
                "the blocking client is closed, or called from its own event loop"
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    def call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call a function in the loop's thread.

        Return its result, raise its error.
        """

        async def now() -> T:
            return function(*arguments, **options)

        return self.run(now())

    def stop(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)
        if not self._thread.is_alive():
            self._loop.close()


class Worker:
    """A daemon thread that runs callbacks one after the other.

    A stalled one cannot hold up the end of the program.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, call: Callable[[Any], Any], item: Any) -> None:
        """Call in the worker's thread and wait for the end; raise its error."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish(error: Exception | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        def job() -> None:
            failed = None
            try:
                call(item)
            except Exception as error:  # handed to whoever waits
                failed = error
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, failed)

        self._jobs.put(job)
        await done

    def stop(self) -> None:
        """End the thread after what it does now."""
        self._jobs.put(None)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            job()
