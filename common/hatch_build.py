"""Put the broker's configuration of the demo into the distributions.

It has one home, mosquitto/ of the repository.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "busbar/cli/demo/loopback.conf"


class CustomBuildHook(BuildHookInterface):
    """Include the files that are there; an sdist or image lacks the rest of it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        source = Path(self.root).parent / "mosquitto" / "loopback.conf"
        if version != "editable" and source.exists():
            build_data["force_include"][str(source)] = (
                f"src/{NAME}" if self.target_name == "sdist" else NAME
            )
