"""Properties of a unit: places in its registers, and what the bus sees of them."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from busbar.bridge import Property as Declared
from busbar.bridge import config, values
from busbar.codecs.modbus.values import Scaled
from modbus_bridge.points import NO_NUMBERS, Point, chosen, number_of

_WORD = "[A-Za-z0-9-][A-Za-z0-9_-]{0,63}"
Levels = Annotated[
    str,
    Meta(
        pattern=rf"^{_WORD}(/{_WORD})*(?!\n)$",
        description="levels of letters, digits, _ and -, none of them beginning with _",
    ),
]


if TYPE_CHECKING:

    class PropertyKeys(Point, config.Reported, frozen=True, kw_only=True):
        """What a point and every property on the bus have."""

else:
    PropertyKeys = config.joined("PropertyKeys", Point, config.Reported)


class Property(
    PropertyKeys, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True
):
    """One property of a unit: where it is, how it is read, written and shown."""

    path: Levels
    access: Literal["r", "w", "rw"] = "r"
    # s; None: as the device; 0: at connect and on refresh
    every: Annotated[float, Meta(ge=0, le=86400)] | None = None
    choices: dict[int, str] = msgspec.field(default_factory=dict)  # number -> name
    minimum: float | None = None
    maximum: float | None = None
    # property whose value is the power of ten of this one
    scale_from: Levels | None = None
    # models of SunSpec; `address` counts from the register with the model's number
    sunspec: tuple[Annotated[int, Meta(ge=1, le=65534)], ...] = ()

    def __post_init__(self) -> None:
        Point.__post_init__(self)
        if self.scale_from is not None and (self.choices or self.kind in NO_NUMBERS):
            raise ValueError("scale_from: only of a number")
        if "w" in self.access and self.table in ("discrete", "input"):
            raise ValueError(f"access: the table {self.table} can only be read")
        if self.choices and (not self.whole or self.bounds is None):
            raise ValueError("choices: only of a whole number")
        config.check_choices(self.choices)
        for raw in self.choices:
            self._check_within("choices", raw)
        self._check_bounds()

    def _check_bounds(self) -> None:
        for key in ("minimum", "maximum"):
            bound = getattr(self, key)
            if bound is None:
                continue
            if self.kind in NO_NUMBERS or self.choices:
                raise ValueError(f"{key}: only of a number")
            if self.whole and not bound.is_integer():
                raise ValueError(f"{key}: {bound:g} is not a whole number")
            self._check_within(key, bound)
        if (
            self.minimum is not None
            and self.maximum is not None
            and self.minimum > self.maximum
        ):
            raise ValueError(
                f"minimum: {self.minimum:g} is above the maximum of {self.maximum:g}"
            )

    def _check_within(self, key: str, value: float) -> None:
        if self.scale_from is None and not self._holds(value):
            low, high = self.bounds or (0, 0)
            raise ValueError(f"{key}: {value:g} is not within {low:g} to {high:g}")

    def _holds(self, value: float) -> bool:
        if self.bounds is None:
            return True
        return self.bounds[0] <= value <= self.bounds[1]

    @cached_property
    def whole(self) -> bool:
        """True if its values are whole numbers; the power of ten may be negative."""
        return self.scale_from is None and self.is_whole()

    @cached_property
    def type_(self) -> Any:
        """The type that msgspec checks values against."""
        if self.choices:
            number = self.value_type(self.minimum, self.maximum)
            return values.choice(*self.choices.values()) | number
        if self.scale_from is not None:
            return values.number(self.minimum, self.maximum)
        return self.value_type(self.minimum, self.maximum)

    def take(self, data: Any, power: int = 0) -> Any:
        """Return the value, ready for JSON, in what a Read has answered.

        None if the unit says that it has none. `power` of ten is that of `scale_from`.
        Raise ProtocolError, OutOfRange.
        """
        if self.scale_from is not None:
            if not self.has_value(data):
                return None
            return self.neat(self._scaled(power).decode(data))
        value = self.parse(data)
        if self.choices and value is not None:
            return chosen(self.choices, value)
        return msgspec.to_builtins(value) if isinstance(value, bytes) else value

    def give(self, value: Any) -> Any:
        """Return the value that goes into the registers; raise OutOfRange."""
        return number_of(self.choices, value) if self.choices else value

    def to_write(self, power: int) -> "Property":
        """Return the property with the factor that its scale has now."""
        if self.scale_from is None:
            return self
        scale = self._scaled(power).scale
        return replace(self, scale=scale, scale_from=None, minimum=None, maximum=None)

    def _scaled(self, power: int) -> Scaled:
        return Scaled(self.raw, self.scale * float(f"1e{power}"), self.offset)

    def declared(self, every: float, wait: float) -> Declared:
        """Return the property as the bus sees it; `wait` (s) for an answer."""
        polled = bool(every) and "r" in self.access
        max_age = 3 * every + wait if polled else 0.0
        return Declared(
            self.path,
            self.type_,
            self.access,
            title=self.title,
            unit=self.unit,
            group=self.group,
            class_=self.class_,
            readback=None if self.access == "w" else "",
            deadband=self.deadband,
            min_interval=self.min_interval,
            max_silence=self.max_silence,
            max_age=max_age,
        )


class Sum(config.Reported, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The sum of other properties of the unit."""

    path: Levels
    of: Annotated[tuple[str, ...], Meta(min_length=1, max_length=100)]  # -x: minus x
    precision: Annotated[int, Meta(ge=0, le=12)] | None = None

    @property
    def parts(self) -> dict[str, int]:
        """Path -> its sign."""
        return {each.removeprefix("-"): sign(each) for each in self.of}

    def declared(self, max_age: float) -> Declared:
        """Return the sum as the bus sees it; good for `max_age` s, 0: for ever."""
        return Declared(
            self.path,
            values.number(),
            title=self.title,
            unit=self.unit,
            group=self.group,
            class_=self.class_,
            deadband=self.deadband,
            min_interval=self.min_interval,
            max_silence=self.max_silence,
            max_age=max_age,
        )


def sign(part: str) -> int:
    """Return -1 for a part of a sum that is subtracted."""
    return -1 if part.startswith("-") else 1


def check_properties(properties: Sequence[Property], sums: Sequence[Sum]) -> None:
    """Raise ValueError for paths that are there twice, and for names of nothing."""
    found: dict[str, list[Property]] = {}
    for each in properties:
        found.setdefault(each.path, []).append(each)
    for path, same in found.items():
        if len(same) > 1 and not _are_alternatives(same):
            raise ValueError(f"properties: {path!r} is there twice")
    for each in properties:
        if each.scale_from is not None:
            _check_source(each.path, each.scale_from, found.get(each.scale_from, []))
    paths = [*found, *(each.path for each in sums)]
    for total in sums:
        if paths.count(total.path) > 1:
            raise ValueError(f"sums: {total.path!r} is there twice")
        for part in total.parts:
            if any(not is_summable(each) for each in found.get(part, [None])):
                raise ValueError(f"sums: {part!r} is no number that is read")


def is_summable(found: Property | None) -> bool:
    """Return whether a property is a number that is read."""
    if found is None or "r" not in found.access:
        return False
    return not found.choices and found.kind not in NO_NUMBERS


def _are_alternatives(same: list[Property]) -> bool:
    """Return whether properties are one point of several models of SunSpec."""
    models = [number for each in same for number in each.sunspec]
    return all(each.sunspec for each in same) and len(models) == len(set(models))


def _check_source(path: str, source: str, found: list[Property]) -> None:
    if not found:
        raise ValueError(f"scale_from: {path!r} names {source!r}, which is not there")
    for each in found:
        if not is_summable(each) or not each.whole or each.scale_from is not None:
            raise ValueError(f"scale_from: {source!r} is no whole number that is read")
