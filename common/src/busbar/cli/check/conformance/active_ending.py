"""Check after all commands: one outcome each (3.5)."""

from collections import Counter
from collections.abc import AsyncIterator

from busbar.cli.check.conformance.caller import Caller
from busbar.cli.check.conformance.checks import Verdict, active, verdict
from busbar.cli.observe import GRACE


@active("3.5", "Every command has exactly one outcome", "a command", last=True)
async def one_outcome(caller: Caller) -> AsyncIterator[Verdict]:
    await caller.observer.listen(GRACE)
    came: Counter[tuple[str, str, object]] = Counter()
    for seen, reply in caller.replies():
        if seen.topic == f"{caller.base}{reply.device}/reply":
            came[reply.device, reply.target, reply.id] += 1
    everybody = caller.commands()
    for (device, target, id_), count in (+caller.sent).items():
        most = count
        if id_ is None:
            most = max(count, everybody[device, target])
        outcomes = came[device, target, id_]
        found = f"{outcomes} outcomes of {count} commands"
        yield verdict(
            count <= outcomes <= most, f"{device}/{target}, id {id_!r}: {found}"
        )
