"""What the READMEs of the bridges share.

Sections in one order, and a simulator that the example finds.
"""

import re
import shlex
from importlib import resources

import pytest

from tests.examples.programs import ROOT

KINDS = sorted(
    path.name.removesuffix("-bridge")
    for path in (ROOT / "services").iterdir()
    if path.is_dir()
)
# whatever stands between
ORDER = ("Keys of", "Commands", "What goes wrong", "From", "Limits", "Figures")


def readme(kind: str) -> str:
    return (ROOT / "services" / f"{kind}-bridge" / "README.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_sections_have_the_same_names_in_the_same_order(kind: str) -> None:
    found = re.findall(r"^## (.+)$", readme(kind), re.MULTILINE)
    places = [
        number
        for beginning in ORDER
        for number, each in enumerate(found)
        if each.startswith(beginning)
    ]
    assert places == sorted(places)
    for beginning in ORDER[:4]:
        assert any(each.startswith(beginning) for each in found), beginning


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_finds_the_simulator_that_is_started_as_it_says(kind: str) -> None:
    example = f"services/{kind}-bridge/src/{kind}_bridge/example.yaml"
    lines = re.findall(r"^    (.+)$", readme(kind), re.MULTILINE)
    (bridge,) = (
        line for line in lines if line.endswith(f"{kind}-bridge --config {example}")
    )
    known = (resources.files(f"{kind}_bridge") / "example.yaml").read_text() + bridge
    for line in lines:
        if line.startswith(f"python -m {kind}_bridge.simulator"):
            assert all(each in known for each in shlex.split(line)[4::2])
            assert len(shlex.split(line)) > 3
    # simulated in the bridge, in a folder, or in sigrok
    if kind not in ("gpio", "hid", "sigrok"):
        started = rf"    python -m {kind}_bridge\.simulator --\w+-port "
        assert re.search(started, readme(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_links_to_is_there(kind: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", readme(kind))
    assert "../../docs/configuration.md" in links
    for link in links:
        assert (ROOT / "services" / f"{kind}-bridge" / link).exists(), link
