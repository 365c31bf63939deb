"""What is sent again after a sign-on.

Source: docs/protocols/cip.md, 5.1
"""

from collections.abc import Iterator

from busbar.codecs import cip
from busbar.codecs.cip import Join, Update
from cip_bridge.join_state import JoinState
from cip_bridge.paths import JoinPaths


class Resend:
    """Chooses the outputs that a sign-on has lost, by the rule of each join.

    `left`: we had left the processor ourselves, so it has them all.
    """

    def __init__(self, joins: JoinState, paths: JoinPaths, *, left: bool) -> None:
        self._joins = joins
        self._paths = paths
        self._left = left

    def outputs(self) -> Iterator[Update]:
        """Yield what is sent again; held buttons are pressed again anyway."""
        for join, value in self._joins.sent.known.items():
            if join not in self._joins.pressed and self._is_due(join):
                yield Update(join, value, cip.FORMS[join.kind])

    def _is_due(self, join: Join) -> bool:
        rule = self._paths.resend(join)
        if rule == "always":
            return True
        if self._left:
            return False
        if join in self._joins.buttons:
            return join in self._joins.recent_buttons
        return rule == "changed" and join not in self._joins.overtaken
