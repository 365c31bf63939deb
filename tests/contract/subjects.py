"""The bridges under the suite: the toy, and each with a `tests/*_bridge/subject.py`.

A subject says how to start the bridge with its simulator, and what of it the suite may
use.
"""

import importlib
from pathlib import Path

from tests.contract import toy_subject
from tests.contract.subject import Kind


def _of_the_services() -> dict[str, Kind]:
    """Return the `KIND` of each service's subject, by the name of its transport."""
    tests = Path(__file__).parents[1]
    found: dict[str, Kind] = {}
    for file in sorted(tests.glob("*_bridge/subject.py")):
        package = file.parent.name
        module = importlib.import_module(f"tests.{package}.subject")
        found[package.removesuffix("_bridge")] = module.KIND
    return found


SUBJECTS = {**_of_the_services(), "toy": toy_subject.KIND}
