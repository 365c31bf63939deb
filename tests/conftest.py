import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from busbar.testing.fakes import ShiftingLoop


def pytest_asyncio_loop_factories(
    config: Any, item: Any
) -> Mapping[str, Callable[[], ShiftingLoop]]:
    return {"shifting": ShiftingLoop}


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
    for handler in [
        each for each in root.handlers if type(each) is logging.StreamHandler
    ]:
        root.removeHandler(handler)
    for name in (
        "busbar",
        *(
            name
            for name in logging.root.manager.loggerDict
            if name.startswith("busbar.")
        ),
    ):
        logging.getLogger(name).setLevel(logging.NOTSET)
