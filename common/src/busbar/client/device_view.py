"""The client's view of one device as a table: what happened, and what is to be trusted.

No I/O, no clock: `tracked_device` says what happened.

    phase     | what it means                               | values are
    ----------+---------------------------------------------+---------------------------
    UNKNOWN   | nothing of this process of the bridge came  | unknown
    RESYNCING | messages are missing, a snapshot must cover | incomplete, but those that
              | them                                        | have changed since
    RECENT    | a retained snapshot; a newer one may follow | joining
    CURRENT   | nothing is missing                          | good
    REJOINED  | reconnected, nothing was missing before     | incomplete
    BEHIND    | reconnected, something was missing before   | incomplete

    happened       | from                      | to        | what comes of it
    ---------------+---------------------------+-----------+---------------------------
    NEXT_CHANGE    | RECENT, CURRENT, REJOINED | CURRENT   | its values are reported
                   | RESYNCING, BEHIND         | RESYNCING |
    LATER_CHANGE   | any                       | RESYNCING | the gap is reported, values
                   |                           |           | good since the last marked
    SNAPSHOT       | any                       | CURRENT   | differences are reported,
    YOUNG_SNAPSHOT | any                       | RECENT    | and what it has jumped over
    TIME_PASSED    | RECENT                    | CURRENT   | values become good
    RECONNECTED    | RECENT, CURRENT           | REJOINED  | nothing before a message
                   | RESYNCING                 | BEHIND    |
    OTHER_BOOT     | any                       | UNKNOWN   | the restart is reported
    REMOVED        | any                       | UNKNOWN   | every value is gone

What is in no row changes nothing. A view has `followed` the changes once one has come
while nothing was missing, or a snapshot has covered what was: "incomplete" is then
shown as `gap`, before that as `joining`. Who joins while values change gets changes at
once, and only within a second the snapshot that covers what was before them. Source:
docs/contract.md, 3.
"""

from dataclasses import dataclass
from enum import Enum, auto

from busbar.contract.messages import Fault

GAP = Fault("gap", "messages were lost; waiting for a snapshot")
JOINING = Fault("joining", "we have just connected; the newest values are on their way")
UNKNOWN = Fault("unknown", "nothing is known of it yet")


class Phase(Enum):
    """Where the view of a device is."""

    UNKNOWN = auto()
    RESYNCING = auto()
    RECENT = auto()
    CURRENT = auto()
    REJOINED = auto()
    BEHIND = auto()


class Happened(Enum):
    """What moves the view of a device."""

    NEXT_CHANGE = auto()  # a message with changes, the next by its sequence
    LATER_CHANGE = auto()  # one after messages that have not come
    SNAPSHOT = auto()
    YOUNG_SNAPSHOT = auto()  # the first, retained for less than FRESH
    TIME_PASSED = auto()  # FRESH, without a message
    RECONNECTED = auto()
    OTHER_BOOT = auto()  # a message of another process of the bridge
    REMOVED = auto()


FROM_ANY = {
    Happened.LATER_CHANGE: Phase.RESYNCING,
    Happened.SNAPSHOT: Phase.CURRENT,
    Happened.YOUNG_SNAPSHOT: Phase.RECENT,
    Happened.OTHER_BOOT: Phase.UNKNOWN,
    Happened.REMOVED: Phase.UNKNOWN,
}
STEPS = {
    (Phase.RECENT, Happened.NEXT_CHANGE): Phase.CURRENT,
    (Phase.REJOINED, Happened.NEXT_CHANGE): Phase.CURRENT,
    (Phase.BEHIND, Happened.NEXT_CHANGE): Phase.RESYNCING,
    (Phase.RECENT, Happened.TIME_PASSED): Phase.CURRENT,
    (Phase.RECENT, Happened.RECONNECTED): Phase.REJOINED,
    (Phase.CURRENT, Happened.RECONNECTED): Phase.REJOINED,
    (Phase.RESYNCING, Happened.RECONNECTED): Phase.BEHIND,
}
IN_STEP = (Phase.RECENT, Phase.CURRENT)  # nothing is missing of what has come
RECONNECTED = (Phase.REJOINED, Phase.BEHIND)
AFTER_CHANGES = (Phase.RESYNCING, Phase.BEHIND)  # which have come, incomplete


@dataclass(frozen=True, slots=True)
class View:
    """Where the view is, and whether changes have been followed without a gap."""

    phase: Phase = Phase.UNKNOWN
    followed: bool = False

    @property
    def fault(self) -> Fault | None:
        """Why values that have not changed since are not to be trusted."""
        if self.phase is Phase.CURRENT:
            return None
        if self.phase is Phase.UNKNOWN:
            return UNKNOWN
        if self.phase is Phase.RECENT or not self.followed:
            return JOINING
        return GAP


def step(view: View, happened: Happened) -> View:
    """Return where the view is after something happened."""
    row = (view.phase, happened)
    phase = STEPS.get(row, FROM_ANY.get(happened, view.phase))
    return View(phase, _has_followed(view, happened, phase))


def _has_followed(view: View, happened: Happened, after: Phase) -> bool:
    if after is Phase.UNKNOWN:
        return False
    if happened is Happened.NEXT_CHANGE and after is Phase.CURRENT:
        return True
    if happened is Happened.SNAPSHOT or happened is Happened.YOUNG_SNAPSHOT:
        return view.followed or view.phase in AFTER_CHANGES
    return view.followed
