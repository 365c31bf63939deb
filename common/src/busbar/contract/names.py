"""Names that are one topic level, and how foreign names become such.

Source: docs/contract.md, 1.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache

from busbar.errors import ConfigError

LEVEL_LIMIT = 64  # characters of one level
LEVEL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_PARAMETER = re.compile(r"\{(\w+)\}")
_SEVERAL = re.compile(r"\}[^/{]*\{")  # parameters in one level
_DIGEST = 7  # characters of "-" and 6 hex digits


def level(original: str) -> str:
    """Return the topic level for a foreign name, whatever came before it."""
    plain = original.replace(" ", "_")
    mapped = _FOREIGN.sub("_", plain) or "_"
    exact = mapped == plain
    if mapped.startswith("_"):
        mapped = f"x{mapped}"
    if exact and len(mapped) <= LEVEL_LIMIT:
        return mapped
    digest = hashlib.sha256(original.encode(errors="surrogatepass")).hexdigest()
    return f"{mapped[: LEVEL_LIMIT - _DIGEST]}-{digest[:6]}"


def collisions(originals: Mapping[str, str]) -> set[str]:
    """Return the originals (of original -> topic path) that share a path with another.

    None of them may be served.
    """
    seen: dict[str, list[str]] = {}
    for original, path in originals.items():
        seen.setdefault(path, []).append(original)
    shared: set[str] = set()
    for group in seen.values():
        if len(group) > 1:
            shared.update(group)
    return shared


@lru_cache(maxsize=1000)
def family(template: str) -> tuple[list[str], re.Pattern[str]]:
    """Return the parameters of a family's path and the pattern of its members.

    The pattern has a group for each. Two parameters in one level have no members:
    where one ends and the next begins could take for ever to find out.
    """
    parts = _PARAMETER.split(template)
    if _SEVERAL.search(template):
        return parts[1::2], re.compile("(?!)")
    fixed = map(re.escape, parts[::2])
    return parts[1::2], re.compile("([^/]+)".join(fixed))


def check_level(name: str, what: str) -> None:
    """Raise ConfigError unless the name is one topic level."""
    if not LEVEL.fullmatch(name):
        raise ConfigError(
            f"{what} {name!r} must be 1 to 64 of the characters A-Z a-z 0-9 _ -"
        )
