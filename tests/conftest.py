from collections.abc import Callable, Mapping
from typing import Any

from busbar.testing import ShiftingLoop


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], ShiftingLoop]]:
    return {"shifting": ShiftingLoop}
