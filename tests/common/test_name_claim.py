"""Of several processes with one name exactly one stays; alone, none ever leaves.

A model of the broker and of processes that crash, stop and start around the step.
"""

import random
from copy import deepcopy
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from busbar.contract.messages import Status
from busbar.runtime.name_claim import Claim, Happened, Verdict, step

PROCESSES = 3  # at once
ROUNDS = 30  # after which of several processes all but one have left
pick = st.integers(0, PROCESSES - 1)


@dataclass
class Process:
    """A bridge: away from the broker, serving, or asking under an id of its own."""

    claim: Claim
    place: str = "away"

    @property
    def status(self) -> Status:
        return Status("online", self.claim.since, self.claim.boot, 1, 0)

    @property
    def question(self) -> Status:
        return Status("connecting", self.claim.since, self.claim.boot, 0, 0)

    @property
    def will(self) -> Status:
        return Status("offline", None, self.claim.boot, 0, 0)

    def happens(self, happened: Happened, status: Status | None = None) -> None:
        self.claim = step(self.claim, happened, status)


@dataclass
class World:
    """A broker with its one retained status, and the processes."""

    clock: float = 1000.0
    started: int = 0
    retained: Status | None = None
    saved: list[Status | None] = field(default_factory=lambda: [None])
    alive: list[Process] = field(default_factory=list)
    forged: bool = False  # since somebody has begun to ask

    @property
    def asking(self) -> list[Process]:
        return [each for each in self.alive if each.place == "asking"]

    @property
    def serving(self) -> list[Process]:
        return [each for each in self.alive if each.place == "serving"]

    def start(self) -> None:
        self.started += 1
        self.clock += 1
        self.alive.append(Process(Claim(self.clock, f"{self.started:08x}")))

    def publish(self, status: Status, *, retain: bool, sender: str = "") -> None:
        """Deliver to those who listen; who serves repairs."""
        if retain:
            self.retained = status
            self.saved.append(status)
        for each in self.asking:
            if each.claim.boot != sender:
                each.happens(Happened.HEARD, status)
                self.leave(each)
        for each in self.serving:
            if status.boot != each.claim.boot or status.state != "online":
                self.publish(each.status, retain=True, sender=each.claim.boot)

    def leave(self, process: Process) -> None:
        if process.claim.verdict is not Verdict.LEAVE:
            return
        others = [each for each in self.alive if each is not process]
        assert others, "it was alone and ended itself"
        assert any(each.claim.since >= process.claim.since for each in others)
        self.alive.remove(process)

    def connect(self, process: Process, *, will: bool) -> None:
        """Under the name: whoever is there is thrown out, its will may be published."""
        for other in self.serving:
            other.place = "away"
            if will:
                self.publish(other.will, retain=True, sender=other.claim.boot)
        process.happens(Happened.CONNECTED, self.retained)
        if process.claim.verdict is Verdict.ASK:
            process.place = "asking"
        else:
            process.place = "serving"
            self.publish(process.status, retain=True, sender=process.claim.boot)

    def ask(self, process: Process) -> None:
        process.happens(Happened.ASKED)
        self.publish(process.question, retain=False, sender=process.claim.boot)

    def give_up(self, process: Process) -> None:
        process.happens(Happened.UNANSWERED)
        process.place = "away"


class Names(RuleBasedStateMachine):
    """Whatever happens: who is alone stays; of several exactly one does, in the end."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.world.start()
        self.world.connect(self.world.alive[0], will=True)

    def chosen(self, number: int, among: list[Process]) -> Process | None:
        return among[number % len(among)] if among else None

    @precondition(lambda self: len(self.world.alive) < PROCESSES)
    @rule()
    def start(self) -> None:
        self.world.start()

    @rule(number=pick, will=st.booleans())
    def goes_on(self, number: int, will: bool) -> None:
        """Whoever is away comes back, whoever asks does so again."""
        world = self.world
        waiting = [each for each in world.alive if each.place != "serving"]
        process = self.chosen(number, waiting)
        if process in world.asking:
            world.ask(process)
        elif process is not None:
            world.connect(process, will=will)

    @rule(number=pick)
    def patience_ends(self, number: int) -> None:
        if process := self.chosen(number, self.world.asking):
            self.world.give_up(process)

    @rule()
    def link_breaks(self) -> None:
        for process in self.world.serving:
            process.place = "away"
            self.world.publish(process.will, retain=True)

    @rule(number=pick, will=st.booleans())
    def crash(self, number: int, will: bool) -> None:
        if process := self.chosen(number, self.world.alive):
            self.world.alive.remove(process)
            if will and process.place == "serving":
                self.world.publish(process.will, retain=True)

    @rule()
    def stop(self) -> None:
        for process in self.world.serving:
            self.world.alive.remove(process)
            claim = process.claim
            goodbye = Status("stopped", claim.since, claim.boot, 1, 0)
            self.world.publish(goodbye, retain=True)

    @rule(data=st.data())
    def broker_restarts(self, data: st.DataObject) -> None:
        """It keeps what is retained, loses it, or comes back with an old file."""
        kept = data.draw(st.sampled_from([*self.world.saved, self.world.retained]))
        for process in self.world.alive:
            if process.place == "asking":
                self.world.give_up(process)
            process.place = "away"
        self.world.retained = kept

    @rule(seconds=st.sampled_from([-3600.0, -1.5, 60.0]))
    def clock_steps(self, seconds: float) -> None:
        self.world.clock += seconds

    @rule(since=st.sampled_from([None, 1.0, 1e9, 2e9]))
    def forge(self, since: float | None) -> None:
        """One forged status while somebody asks; two in six seconds are believed."""
        if self.world.asking and self.world.forged:
            return
        self.world.forged = bool(self.world.asking)
        forged = Status("online", since, "f0f0f0f0", 1, 0)
        self.world.publish(forged, retain=True)

    @invariant()
    def nobody_asks_after_a_forgery(self) -> None:
        if not self.world.asking:
            self.world.forged = False

    @invariant()
    def at_most_one_serves(self) -> None:
        assert len(self.world.serving) <= 1

    def teardown(self) -> None:
        """Left alone, they decide."""
        for will in (True, False):
            settle(deepcopy(self.world), random.Random(1), will=will)


def settle(world: World, chance: random.Random, *, will: bool) -> None:
    """Let time pass as it does.

    Within the patience of one who asks, whoever is away comes back several times.
    """
    newest = max((each.claim.since for each in world.alive), default=None)
    for _ in range(ROUNDS):
        for _ in range(3):
            for process in chance.sample(world.alive, len(world.alive)):
                if process in world.alive and process.place == "away":
                    world.connect(process, will=will)
            for process in world.asking:
                world.ask(process)
        for process in world.asking:
            world.give_up(process)
    assert len(world.alive) == (newest is not None)
    assert all(each.place == "serving" for each in world.alive)
    assert all(each.claim.since == newest for each in world.alive)


TestNames = Names.TestCase


@pytest.mark.parametrize("will", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_of_two_that_start_in_one_moment_the_newer_one_stays(
    seed: int, will: bool
) -> None:
    world = World()
    world.start()
    world.start()
    settle(world, random.Random(seed), will=will)
    assert [each.claim.boot for each in world.alive] == ["00000002"]


OURS = Claim(1000.0, "our0b007", served=True)
NEWER = Status("online", 2000.0, "0ther000", 1, 0)
OLDER = Status("online", 500.0, "0ther000", 1, 0)
WILL = Status("offline", None, "0ther000", 0, 0)
GOODBYE = Status("stopped", 2000.0, "0ther000", 1, 0)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (None, Verdict.SERVE),
        (OLDER, Verdict.SERVE),
        (GOODBYE, Verdict.SERVE),
        (Status("offline", None, OURS.boot, 0, 0), Verdict.SERVE),
        (NEWER, Verdict.ASK),
        (WILL, Verdict.ASK),
    ],
)
def test_only_a_newer_status_or_the_will_of_another_makes_one_ask(
    found: Status | None, verdict: Verdict
) -> None:
    assert step(OURS, Happened.CONNECTED, found).verdict is verdict


def test_the_first_connection_of_a_process_asks_nobody() -> None:
    first = Claim(1000.0, "our0b007")
    assert step(first, Happened.CONNECTED, NEWER).verdict is Verdict.SERVE


@pytest.mark.parametrize(
    ("heard", "verdict"),
    [
        ([NEWER], Verdict.ASK),
        ([NEWER, WILL, GOODBYE], Verdict.ASK),
        ([NEWER, NEWER], Verdict.LEAVE),
        ([OLDER], Verdict.SERVE),
    ],
)
def test_two_answers_of_a_newer_one_make_it_leave(
    heard: list[Status], verdict: Verdict
) -> None:
    claim = step(OURS, Happened.CONNECTED, NEWER)
    for status in heard:
        claim = step(claim, Happened.ASKED)
        claim = step(claim, Happened.HEARD, status)
    assert claim.verdict is verdict


def test_what_was_said_without_a_question_is_no_answer() -> None:
    claim = step(OURS, Happened.CONNECTED, NEWER)
    claim = step(claim, Happened.ASKED)
    for _ in range(5):
        claim = step(claim, Happened.HEARD, NEWER)
    assert claim.verdict is Verdict.ASK


def test_who_was_not_answered_serves_though_the_old_status_is_still_there() -> None:
    claim = step(OURS, Happened.CONNECTED, NEWER)
    claim = step(claim, Happened.UNANSWERED)
    claim = step(claim, Happened.CONNECTED, NEWER)
    assert claim.verdict is Verdict.SERVE
    # it has published its own since: whoever is there now has come after it
    assert step(claim, Happened.CONNECTED, NEWER).verdict is Verdict.ASK
