"""The table of the fault campaign.

Tests record rows, `--write-faults` writes them to docs/faults.md.
"""

from collections.abc import Callable, Generator, Iterator

import pytest

from tests.broker import Mosquitto
from tests.faults.table import FILE, Table

TABLE = pytest.StashKey[Table]()
Record = Callable[[str, str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-faults",
        action="store_true",
        help="write the results to docs/faults.md",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed or (report.skipped and hasattr(report, "wasxfail")):
        table(item.config).broken(item.path.stem, item.name)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--write-faults", default=False):
        FILE.write_text(table(session.config).text())


def table(config: pytest.Config) -> Table:
    """Return the one table of this run."""
    return config.stash.setdefault(TABLE, Table())


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Takes a row: the fault, what the contract promises, the figure."""
    name = request.path.stem
    return lambda fault, promise, figure: table(request.config).add(
        name, fault, promise, figure
    )


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as mosquitto:
        yield mosquitto
