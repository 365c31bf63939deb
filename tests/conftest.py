import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import settings

from busbar.testing.fakes import ShiftingLoop
from tests import children

# `fast` is for the inner loop, the default one for everything that is landed
settings.register_profile("fast", max_examples=20)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# A suite that was started in the background of a shell, or under nohup, inherits an
# ignored SIGINT, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_asyncio_loop_factories(
    config: Any, item: Any
) -> Mapping[str, Callable[[], ShiftingLoop]]:
    return {"shifting": ShiftingLoop}


@pytest.fixture(autouse=True)
def nothing_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the processes that a test has left running, and fail that test."""
    before = children.running()
    yield
    if request.node.get_closest_marker("restarts"):
        return
    left = children.running() - before
    if left:
        pytest.fail(f"left running: {', '.join(children.end(left))}", pytrace=False)


@pytest.fixture(autouse=True)
def logging_as_at_the_start() -> Iterator[None]:
    """Commands of ours that run in this process, also in wider fixtures, set up
    logging; nobody else should notice."""
    _reset_logging()
    yield
    _reset_logging()


def _reset_logging() -> None:
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
    for name in ("busbar", *logging.root.manager.loggerDict):
        if name == "busbar" or name.startswith("busbar."):
            logging.getLogger(name).setLevel(logging.NOTSET)
