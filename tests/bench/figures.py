"""A figure of a benchmark: ours beside somebody else's of the same run, a budget."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Budget:
    """At most so much, of the figure itself or of its ratio."""

    most: float
    ratio: bool = False


@dataclass(frozen=True)
class Row:
    """Medians of all repetitions.

    `ratios` has one for each repetition, so their spread can be seen.
    """

    what: str
    unit: str
    ours: float
    theirs: float | None = None
    against: str = ""
    ratios: Sequence[float] = ()
    budget: Budget | None = None
    short: bool = False  # belongs in the README

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        """Whether the budget is kept.

        None if there is none, or nothing to compare with.
        """
        if self.budget is None or (self.budget.ratio and not self.ratios):
            return None
        value = self.ratio if self.budget.ratio else self.ours
        return value is not None and value <= self.budget.most

    def json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "met": self.met}

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> "Row":
        """Read what `json` has written."""
        fields = {
            key: value for key, value in saved.items() if key not in ("ratio", "met")
        }
        return cls(
            **{
                **fields,
                "budget": Budget(**fields["budget"]) if fields["budget"] else None,
            }
        )


def compare(
    what: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    against: str,
    **more: Any,
) -> Row:
    """Make a row of repetitions that ran in turns.

    The n-th of ours beside the n-th of theirs.
    """
    ratios = [round(our / their, 3) for our, their in zip(ours, theirs, strict=True)]
    return Row(what, unit, _median(ours), _median(theirs), against, ratios, **more)


def alone(what: str, unit: str, ours: Sequence[float], **more: Any) -> Row:
    """Make a row of a figure that has nothing beside it."""
    return Row(what, unit, _median(ours), **more)


def _median(values: Sequence[float]) -> float:
    return float(f"{statistics.median(values):.4g}")


def in_turns(
    repetitions: int, candidates: Mapping[str, Callable[[], Result]]
) -> dict[str, list[Result]]:
    """Run every candidate once in each repetition, so that the machine's moods meet all
    of them."""
    results: dict[str, list[Result]] = {name: [] for name in candidates}
    for _ in range(repetitions):
        for name, run in candidates.items():
            results[name].append(run())
    return results
