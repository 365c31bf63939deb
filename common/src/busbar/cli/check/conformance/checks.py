"""Checks of the contract: one small function for one sentence, by section.

For each thing that it looked at a check yields None, or what is wrong with it. One that
found nothing to look at has not been tried, and never counts as passed.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from busbar.mqtt.reconnect import BrokerLost

log = logging.getLogger("busbar.conformance")

Verdict = str | None
Passive = Callable[[Any], Iterator[Verdict]]  # (Record)
Active = Callable[[Any], AsyncIterator[Verdict]]  # (Caller)
Level = Literal["passive", "active", "all"]

TITLES = {
    "1": "Topics",
    "2": "Commands",
    "3": "Payloads",
    "3.1": "status",
    "3.2": "info",
    "3.3": "state",
    "3.4": "event",
    "3.5": "reply",
    "4": "The bridge's own device",
    "5": "Connecting and leaving",
}


def verdict(fine: object, wrong: str) -> Verdict:
    """Return None if a thing is fine, else what is wrong with it."""
    return None if fine else wrong


class NotTriedError(Exception):
    """A check cannot be made here; the message says why."""


@dataclass(frozen=True)
class Check:
    """One sentence of the contract and what looks whether it holds.

    `needs` says what is missing when nothing was.
    """

    section: str
    sentence: str
    needs: str
    level: Level
    run: Any
    last: bool = False  # looks back at what the others sent

    def result(self, verdicts: list[Verdict], why_not: str | None = None) -> "Result":
        wrong = [each for each in verdicts if each is not None]
        if not verdicts and why_not is None:
            why_not = f"not seen: {self.needs}"
        return Result(
            self.section,
            self.sentence,
            self.level,
            len(verdicts),
            len(wrong),
            tuple(dict.fromkeys(wrong)),
            why_not,
        )


@dataclass(frozen=True)
class Result:
    """Result of a check: `made` things were looked at, `bad` of them violate it.

    `wrong` says each thing once.
    """

    section: str
    sentence: str
    level: Level
    made: int
    bad: int
    wrong: tuple[str, ...]
    why_not: str | None

    @property
    def state(self) -> Literal["holds", "violated", "not tried"]:
        if self.wrong:
            return "violated"
        if self.made:
            return "holds"
        return "not tried"


CHECKS: list[Check] = []


def passive(section: str, sentence: str, needs: str) -> Callable[[Passive], Passive]:
    """Register a check that only looks at what was seen."""

    def register(run: Passive) -> Passive:
        CHECKS.append(Check(section, sentence, needs, "passive", run))
        return run

    return register


def active(
    section: str,
    sentence: str,
    needs: str,
    *,
    everything: bool = False,
    last: bool = False,
) -> Callable[[Active], Active]:
    """Register a check that sends commands.

    `everything`: one that writes or disturbs, only with --all.
    """
    level: Level = "all" if everything else "active"

    def register(run: Active) -> Active:
        CHECKS.append(Check(section, sentence, needs, level, run, last))
        return run

    return register


def judge(check: Check, record: Any) -> Result:
    """Make a passive check; one that raises is a finding."""
    verdicts: list[Verdict] = []
    try:
        for each in check.run(record):
            verdicts.append(each)
    except NotTriedError as error:
        return check.result(verdicts, str(error))
    except Exception as error:  # what a bridge says must not cost the report
        verdicts.append(_failed(error))
    return check.result(verdicts)


async def attempt(check: Check, caller: Any) -> Result:
    """Make a check that sends commands; one that raises is a finding.

    Raise BrokerLost: no other check can be made then.
    """
    verdicts: list[Verdict] = []
    try:
        async for each in check.run(caller):
            verdicts.append(each)
    except NotTriedError as error:
        return check.result(verdicts, str(error))
    except BrokerLost:
        raise
    except Exception as error:  # what a bridge says must not cost the report
        verdicts.append(_failed(error))
    return check.result(verdicts)


def _failed(error: Exception) -> str:
    log.debug("a check failed", exc_info=error)
    return f"the check failed with {type(error).__name__}: {error}"
