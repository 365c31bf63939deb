"""Packages from npm for tests.

Each version is downloaded once, into .venv, where `make clean` removes it.
"""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.broker import find

# both run on Debian 12's Node.js 18
VERSIONS = {
    "aedes": "1.2.0",
    "crestron-cip": "1.0.2",
    "mqtt": "5.16.0",
    "node-red": "4.1.15",
}

_CACHE = Path(__file__).parent.parent / ".venv" / "node"
_INSTALL = (
    "install --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error"
)
_LIMIT = 540.0  # s; generous, only a network that hangs needs it


def modules(package: str) -> Path:
    """Return the `node_modules` that has this package and what it needs.

    Raise RuntimeError with what npm says.
    """
    wanted = f"{package}@{VERSIONS[package]}"
    folder = _CACHE / wanted
    if not folder.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        # Made beside it and renamed when complete: an interrupted download is never
        # taken for the package.
        with TemporaryDirectory(prefix="new-", dir=_CACHE) as new:
            _install(wanted, Path(new) / "it")
            _rename(Path(new) / "it", folder)
    return folder / "node_modules"


def link(package: str, folder: Path) -> None:
    """Let the scripts in a folder import this package, as after `npm install` in it."""
    (folder / "node_modules").symlink_to(modules(package), target_is_directory=True)


def _install(wanted: str, folder: Path) -> None:
    folder.mkdir()
    command = [find("npm"), *_INSTALL.split(), "--prefix", str(folder), wanted]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_LIMIT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"npm cannot install {wanted}: {done.stderr}{done.stdout}")


def _rename(new: Path, folder: Path) -> None:
    try:
        new.rename(folder)
    except OSError:
        if not folder.exists():  # else another run was faster
            raise
