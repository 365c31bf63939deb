import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from busbar.testing import ShiftingLoop


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], ShiftingLoop]]:
    return {"shifting": ShiftingLoop}


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands of ours that run in this process set up logging as they need it; nobody else should notice."""
    root, ours = logging.getLogger(), logging.getLogger("busbar")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
