"""Models of meters and inverters: their registers, in files of YAML."""

from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from busbar.bridge import ConfigError, config
from modbus_bridge.properties import Property, Sum, check_properties

FOLDER = Path(__file__).with_name("models")


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The registers of one make, from its maker's table."""

    title: str | None = None
    manufacturer: str | None = None
    source: str | None = None  # the maker's document
    max_read: Annotated[int, Meta(ge=1, le=125)] = 125  # registers in one request
    properties: tuple[Property, ...] = ()
    sums: tuple[Sum, ...] = ()

    def __post_init__(self) -> None:
        check_properties(self.properties, self.sums)


def names() -> list[str]:
    """Return the models that come with the bridge."""
    return sorted(each.stem for each in FOLDER.glob("*.yaml"))


@cache
def load(name: str) -> Model:
    """Return a model, by its name or its file; raise ValueError."""
    file = Path(name) if name.endswith(".yaml") else FOLDER / f"{name}.yaml"
    if file.parent == FOLDER and name not in names():
        raise ValueError(f"model: {name!r} is none of {', '.join(names())}")
    try:
        return config.load(file, Model, {})
    except ConfigError as error:
        raise ValueError(f"model: {error}") from error
