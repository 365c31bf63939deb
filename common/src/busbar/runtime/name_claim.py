"""Whose name it is, of two processes that were given the same one.

They have the same client id, so at the broker each takes the place of the other and
neither hears what the other publishes. Whoever comes back and finds the status of a
newer process, or the will of another (the broker publishes it when one takes the place
of the other), steps aside, asks under a client id of its own, and leaves if it is
answered. A retained status proves nothing (the broker may have come back with an old
file), a will even less.

    happened   | when                           | then
    -----------+--------------------------------+----------------------------
    CONNECTED  | for the first time             | SERVE
    CONNECTED  | a newer status or a will of    | ASK, unless we have asked
               | another process is retained    | for this one just before
    CONNECTED  | else                           | SERVE
    ASKED      | while asking                   | the next answer counts
    HEARD      | live, newer, after a question  | an answer; the second: LEAVE
    HEARD      | live, older, while asking      | SERVE
    UNANSWERED | while asking                   | SERVE

What is in no row changes nothing. The newest process hears nobody newer: it never
leaves, and of several it is the one that stays.

Source: docs/contract.md, 5.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from busbar.contract.messages import Status

ANSWERS = 2  # one could be somebody's mistake, or on its way since before a crash


class Verdict(Enum):
    """What to do next."""

    SERVE = auto()
    ASK = auto()
    LEAVE = auto()


class Happened(Enum):
    """Events that tell something about others of our name."""

    CONNECTED = auto()  # under our client id, with the status that is retained
    ASKED = auto()  # we have published our status, beside whoever serves
    HEARD = auto()  # a status that somebody has just published
    UNANSWERED = auto()  # our patience is over


@dataclass(frozen=True, slots=True)
class Claim:
    """What one process knows; `since` and `boot` stay as long as it lives."""

    since: float
    boot: str
    served: bool = False
    rival: str | None = None  # boot of the process that we ask for
    asked: bool = False  # since the last answer
    answers: int = 0
    silent: str | None = None  # boot of the process that did not answer

    @property
    def verdict(self) -> Verdict:
        """Return what to do."""
        if self.rival is None:
            return Verdict.SERVE
        return Verdict.LEAVE if self.answers >= ANSWERS else Verdict.ASK


def step(claim: Claim, happened: Happened, status: Status | None = None) -> Claim:
    """Return what is known after something happened."""
    asking = claim.verdict is Verdict.ASK
    match happened:
        case Happened.CONNECTED if claim.verdict is Verdict.SERVE:
            return _connected(claim, status)
        case Happened.ASKED if asking:
            return replace(claim, asked=True)
        case Happened.HEARD if asking and status is not None:
            return _heard(claim, status)
        case Happened.UNANSWERED if asking:
            return replace(claim, rival=None, silent=claim.rival)
    return claim


def _connected(claim: Claim, found: Status | None) -> Claim:
    if found is None or not claim.served or found.boot in (claim.boot, claim.silent):
        return replace(claim, served=True, silent=None)
    if found.since is None or _is_newer(found, claim):
        return replace(claim, rival=found.boot, asked=False, answers=0)
    return replace(claim, silent=None)


def _heard(claim: Claim, status: Status) -> Claim:
    if not _lives(status) or status.boot == claim.boot:
        return claim
    if not _is_newer(status, claim):
        return replace(claim, rival=None, silent=claim.rival)
    return replace(claim, asked=False, answers=claim.answers + claim.asked)


def _is_newer(status: Status, claim: Claim) -> bool:
    if not _lives(status) or status.since is None:
        return False
    return (status.since, status.boot) > (claim.since, claim.boot)


def _lives(status: Status) -> bool:
    return status.state in ("online", "connecting") and status.since is not None
