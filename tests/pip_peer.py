"""Python packages that tests run as programs of their own, apart from our environment.

Each version is downloaded once, into .venv, where `make clean` removes it.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

VERSIONS = {"pycrestron-cip": "0.1.2"}

_CACHE = Path(__file__).parent.parent / ".venv" / "peers"
_INSTALL = "-m pip install --quiet --no-deps --ignore-requires-python --target"
_LIMIT = 540.0  # s; generous, only a network that hangs needs it


def packages(name: str) -> Path:
    """Return the folder to import a package from.

    Raise RuntimeError with what pip says. Its declared version of Python is not
    asked for: what it needs beyond ours is in the program that runs it.
    """
    wanted = f"{name}=={VERSIONS[name]}"
    folder = _CACHE / wanted
    if not folder.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        # made beside it and renamed when complete
        with TemporaryDirectory(prefix="new-", dir=_CACHE) as new:
            _install(wanted, Path(new) / "it")
            _rename(Path(new) / "it", folder)
    return folder


def _install(wanted: str, folder: Path) -> None:
    command = [sys.executable, *_INSTALL.split(), str(folder), wanted]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_LIMIT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"pip cannot install {wanted}: {done.stderr}{done.stdout}")


def _rename(new: Path, folder: Path) -> None:
    try:
        new.rename(folder)
    except OSError:
        if not folder.exists():  # else another run was faster
            raise
