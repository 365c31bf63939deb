"""Options of an instrument as properties."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from busbar.bridge import Property, level, values
from busbar.codecs.sigrok import DeviceOptions, Option

UNITS = {"samplerate": "Hz", "captureratio": "%"}


class OptionProperty(NamedTuple):
    """An option and the property that it is."""

    option: Option
    declared: Property

    @property
    def path(self) -> str:
        return self.declared.path


def option_properties(
    described: DeviceOptions, taken: Iterable[str], max_age: float
) -> dict[str, OptionProperty]:
    """Return them by path; one whose path is taken is left out."""
    found: dict[str, OptionProperty] = {}
    for option in described.options:
        path = path_of(option)
        if path not in taken and path not in found:
            found[path] = OptionProperty(option, _declared(option, path, max_age))
    return found


def path_of(option: Option) -> str:
    """Return the path of an option: `averaging`, `Logic/pattern`."""
    if option.group is None:
        return level(option.key)
    return f"{level(option.group)}/{level(option.key)}"


def _declared(option: Option, path: str, max_age: float) -> Property:
    access: Literal["r", "rw"] = "r" if _is_unsayable(option) else "rw"
    return Property(
        path,
        _type(option),
        access,
        title=option.key.replace("_", " "),
        unit=UNITS.get(option.key),
        group=option.group,
        max_age=max_age if option.group is None else 0.0,
    )


def _is_unsayable(option: Option) -> bool:
    """Say whether nothing is known of its values."""
    return not option.choices and option.current is None and option.most is None


def _type(option: Option) -> Any:
    if option.is_switch:
        return bool
    if option.choices:
        return values.choice(*option.choices)
    if option.is_number:
        return values.number(option.least, option.most)
    return str
