"""Check who imports whom.

`imports.toml` with `*_bridge` spelled out for every service, given to import-linter.

import-linter's wildcards replace whole module names only, and its root packages take
none.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SERVICE = "*_bridge"


def services() -> list[str]:
    """Return the packages of all services."""
    return sorted(
        folder.name for folder in HERE.parent.glob(f"services/*/src/{SERVICE}")
    )


def spelled_out(value: Any) -> Any:
    """Return a list of module names in which each service stands for itself."""
    if not isinstance(value, list):
        return value
    names: list[str] = []
    for name in value:
        if SERVICE in name:
            names += [name.replace(SERVICE, service) for service in services()]
        else:
            names.append(name)
    return names


def table(settings: dict[str, Any]) -> str:
    """Return the lines of one TOML table; JSON texts, lists, booleans are TOML ones."""
    rows = (
        f"{key} = {json.dumps(spelled_out(each))}\n" for key, each in settings.items()
    )
    return "".join(rows)


def main() -> int:
    """Run import-linter on the rules; return its exit code."""
    rules = tomllib.loads((HERE / "imports.toml").read_text())["tool"]["importlinter"]
    contracts = rules.pop("contracts")
    text = "[tool.importlinter]\n" + table(rules)
    for contract in contracts:
        text += "[[tool.importlinter.contracts]]\n" + table(contract)
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        program = Path(sys.executable).with_name("lint-imports")
        command = [program, "--config", file.name]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
