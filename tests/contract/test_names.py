"""Section 1.

Foreign names become topic levels, the same whatever the order in which they arrive.
"""

import hashlib
import re

import pytest

from busbar.testing.fakes import until
from tests.contract.client import Client
from tests.contract.subject import Subject

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.section("1"),
    pytest.mark.needs("names"),
]

NAMES = [
    "CCD Exposure",
    "CCD_Exposure",
    "_private",
    "temp/°C",
    "temp/°F",
    "a" * 70,
    "a" * 71,
    "plain-name",
    "x+#",
]
MEETING = {"CCD Exposure", "CCD_Exposure"}  # on one level: neither is served


def expected(name: str) -> str:
    """Return the level of a name as section 1 says it."""
    plain = name.replace(" ", "_")
    level = re.sub("[^A-Za-z0-9_-]", "_", plain)
    changed = level != plain
    level = f"x{level}" if level.startswith("_") else level
    if changed or len(level) > 64:
        return f"{level[:57]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return level


@pytest.mark.parametrize(
    "order", [NAMES, NAMES[::-1], sorted(NAMES)], ids=["first", "reversed", "sorted"]
)
async def test_foreign_names_are_mapped_the_same_in_any_order(
    order: list[str], subject: Subject, client: Client
) -> None:
    served = {name: expected(name) for name in NAMES if name not in MEETING}
    for count in (len(order) // 2, len(order)):  # some come later
        subject.discover(order[:count])
    topic = f"{subject.base}{subject.device}/info"
    originals = lambda: {  # noqa: E731
        each["original"]: path
        for path, each in client.last(topic)["properties"].items()
        if each.get("original")
    }
    await until(lambda: originals() == served, f"{served} in info")
    leaves = {
        f"{subject.base}{subject.device}/state/{path}": name
        for name, path in served.items()
    }
    await until(
        lambda: all(client.last(leaf) == name for leaf, name in leaves.items()),
        "the leaves",
    )
    subject.discover([])
    await until(lambda: not originals(), "their end")
    await until(
        lambda: not any(client.on(leaf)[-1].payload for leaf in leaves),
        "the leaves to go",
    )
    assert not leaves.keys() & (await client.kept()).keys()
