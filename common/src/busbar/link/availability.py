"""Availability of a link as a table: what happened, and what its devices show.

    phase         | shown      | reason
    --------------+------------+--------------------
    UNTRIED       | offline    | not up yet
    OPENING       | connecting |
    SERVING       | online     |
    IDLE          | online     | closed while unused
    LOST          | offline    | the fault
    BACK_SOON     | connecting | the fault
    DISCONNECTED  | offline    | by command

    happened      | from                          | to
    --------------+-------------------------------+-------------
    CLOSED        | SERVING                       | OPENING
    UNWANTED      | any                           | DISCONNECTED
    WANTED        | DISCONNECTED                  | OPENING
    RESTS         | any but LOST                  | IDLE
    ASKED         | any                           | OPENING
    CONVERSING    | any                           | OPENING
    SERVES        | any                           | SERVING
    BROKE         | any                           | LOST
    BROKE_BRIEFLY | any                           | BACK_SOON

What is in no row changes nothing. A link that is LOST stays so while it is tried again:
its devices say why until it serves.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from busbar.contract.messages import Fault
from busbar.errors import Offline

Shown = Literal["connecting", "online", "offline"]

DISCONNECTED_BY_COMMAND = Fault(
    Offline.code, "disconnected by command; `connect` brings it back"
)
UNUSED = Fault("idle", "the link is closed while nobody uses it; a command opens it")
NOT_YET = Fault(Offline.code, "the link has not been up yet")


class Phase(Enum):
    """Where a link is."""

    UNTRIED = auto()
    OPENING = auto()
    SERVING = auto()
    IDLE = auto()
    LOST = auto()
    BACK_SOON = auto()
    DISCONNECTED = auto()


class Happened(Enum):
    """Events that change where a link is."""

    CLOSED = auto()  # on purpose, to be opened again
    UNWANTED = auto()  # no configured device wants it
    WANTED = auto()  # one wants it again
    RESTS = auto()  # nobody uses it, a command opens it
    ASKED = auto()  # a command opens it
    CONVERSING = auto()  # it is up, the conversation not ready
    SERVES = auto()
    BROKE = auto()  # or could not be opened
    BROKE_BRIEFLY = auto()  # the other side says that it will be back in a moment


FROM_ANY = {
    Happened.UNWANTED: Phase.DISCONNECTED,
    Happened.RESTS: Phase.IDLE,
    Happened.ASKED: Phase.OPENING,
    Happened.CONVERSING: Phase.OPENING,
    Happened.SERVES: Phase.SERVING,
    Happened.BROKE: Phase.LOST,
    Happened.BROKE_BRIEFLY: Phase.BACK_SOON,
}
STEPS = {
    (Phase.SERVING, Happened.CLOSED): Phase.OPENING,
    (Phase.DISCONNECTED, Happened.WANTED): Phase.OPENING,
}
UNCHANGED = {(Phase.LOST, Happened.RESTS)}  # it goes on saying why
SHOWN: dict[Phase, Shown] = {
    Phase.UNTRIED: "offline",
    Phase.OPENING: "connecting",
    Phase.SERVING: "online",
    Phase.IDLE: "online",
    Phase.LOST: "offline",
    Phase.BACK_SOON: "connecting",
    Phase.DISCONNECTED: "offline",
}
REASONS = {
    Phase.UNTRIED: NOT_YET,
    Phase.IDLE: UNUSED,
    Phase.DISCONNECTED: DISCONNECTED_BY_COMMAND,
}


@dataclass(frozen=True)
class Availability:
    """Where a link is, and the fault that brought it there."""

    phase: Phase = Phase.UNTRIED
    fault: Fault | None = None

    @property
    def shown(self) -> Shown:
        """The `state` of a device's status that has no trouble of its own."""
        return SHOWN[self.phase]

    @property
    def reason(self) -> Fault | None:
        """The `reason` beside it."""
        return self.fault or REASONS.get(self.phase)

    @property
    def serves(self) -> bool:
        """Whether devices can be read and commanded now."""
        return self.phase is Phase.SERVING


def step(
    link: Availability, happened: Happened, fault: Fault | None = None
) -> Availability:
    """Return where a link is after something happened; `fault` says why it broke."""
    row = (link.phase, happened)
    after = STEPS.get(row, FROM_ANY.get(happened))
    if row in UNCHANGED or after is None:
        return link
    return Availability(after, fault)


def of_device(
    link: Availability, refused: Fault | None, silent: Fault | None
) -> tuple[Shown, Fault | None]:
    """Return state and reason of a device.

    `refused`: it was disconnected by command. `silent`: it does not answer, the link is
    fine.
    """
    trouble = refused or silent
    if trouble is not None:
        return "offline", trouble
    return link.shown, link.reason
