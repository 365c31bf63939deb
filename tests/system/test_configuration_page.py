"""docs/configuration.md: every key that all bridges have is there, with its default."""

import re

from busbar.config import loader
from tests.examples.programs import ROOT

TEXT = (ROOT / "docs" / "configuration.md").read_text()
PARTS = {"bridge": loader.Bridge, "broker": loader.Broker, "log": loader.Log}


def test_every_key_that_all_bridges_have_is_in_its_table() -> None:
    assert set(loader.Config.__struct_fields__) == set(PARTS)
    for name, part in PARTS.items():
        table = TEXT.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        cells = [
            line.split(" | ")[0]
            for line in table.splitlines()
            if line.startswith("| `")
        ]
        assert re.findall(r"`(\w+)`", " ".join(cells)) == list(part.__struct_fields__)


def test_its_example_is_taken_and_sizes_are_what_it_says() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert loader.parse(block, loader.Config, {}).bridge.name == "bench"
    sizes = loader.parse(
        ("bridge: {name: a, max_command: 256KiB}\nbroker: {max_message: 1MiB}"),
        loader.Config,
        {},
    )
    bare = loader.parse("bridge: {name: a}", loader.Config, {})
    assert (sizes.bridge, sizes.broker) == (bare.bridge, bare.broker)
    assert f"| `keepalive` | {bare.broker.keepalive} |" in TEXT
