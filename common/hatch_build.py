"""Put the broker's configuration of the demo into the distributions.

It has one home, mosquitto/ of the repository.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "busbar/cli/demo/loopback.conf"


class CustomBuildHook(BuildHookInterface):
    """Include a file from outside of the project, where it is there.

    A static force-include would fail in an sdist and in a container image.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        source = Path(self.root).parent / "mosquitto" / "loopback.conf"
        if version != "editable" and source.exists():
            build_data["force_include"][str(source)] = (
                f"src/{NAME}" if self.target_name == "sdist" else NAME
            )
