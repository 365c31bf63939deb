"""Environments for what stands beside us: each peer has its own, made when missing."""

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from tests.bench.processes import HERE


@dataclass(frozen=True)
class Environment:
    """One package of the index, with what it needs."""

    package: str
    version: str

    @property
    def folder(self) -> Path:
        return HERE / ".venv" / "peers" / self.package

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def there(self) -> bool:
        """Install it if need be; False, and the reason said, where it cannot be."""
        marker = self.folder / f"installed-{self.version}"
        if not marker.exists():
            try:
                self._install()
            except (OSError, subprocess.SubprocessError) as error:
                print(f"{self.package} cannot be installed: {error}", file=sys.stderr)
                return False
            marker.touch()
        return True

    def _install(self) -> None:
        venv.create(self.folder, clear=True, with_pip=True)
        pip = [
            self.python,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "-qq",
        ]
        subprocess.run([*pip, f"{self.package}=={self.version}"], check=True)
