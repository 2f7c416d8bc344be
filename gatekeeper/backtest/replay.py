"""Replay: past studies decided by what is in force and by a candidate, from what was kept.

Nothing is written. What cannot be decided again is counted with its reason and never passed over:
files that retention removed, content that changed since, rules that would analyse other series.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gatekeeper.assemble.content import content_digest
from gatekeeper.backtest.comparison import Comparison, Pair
from gatekeeper.backtest.past import Past
from gatekeeper.backtest.stored import StoredStudy
from gatekeeper.backtest.terms import Terms
from gatekeeper.errors import GatekeeperError
from gatekeeper.rules import evaluate
from gatekeeper.rules.facts import StudyFacts
from gatekeeper.rules.read import study_facts
from gatekeeper.rules.rule import needed
from gatekeeper.settings import RuleSettings
from storage import instances, studies
from storage.engine import Database
from storage.records import Instance, Study
from storage.settled import Settled
from storage.spool import Spool

REMOVED = "its files were removed"
CHANGED = "it changed since it was judged"
OTHER_SERIES = "the rules would analyse other series or by another bundle"

Answer = Callable[[Settled, StoredStudy], StoredStudy]
"""Returns what a candidate's models say of a study; raises `NotReplayable`."""
Seen = Callable[[int], None]
"""Called with the number of studies looked at."""


class NotReplayable(GatekeeperError):
    """A study that cannot be decided again; the message is the reason that it is counted by."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where past studies are replayed.

    Attributes:
        database: with their rows.
        spool: with their files.
        limits: of what rules read.
    """

    database: Database
    spool: Spool
    limits: RuleSettings


@dataclass(slots=True)
class Replay:
    """Two terms over the same studies.

    Attributes:
        ground: where the studies are.
        now: what is in force.
        then: the candidate.
        answer: of the candidate's models; None where it has none of its own.
        not_replayable: reason -> studies, as they are met.
    """

    ground: Ground
    now: Terms
    then: Terms
    answer: Answer | None = None
    not_replayable: Counter[str] = field(default_factory=Counter[str])

    def pairs(self, past: Past, seen: Seen = lambda _count: None) -> Iterator[Pair]:
        """Yield each study that can be decided again, the newest first."""
        for count, (row, study) in enumerate(past.studies(), 1):
            try:
                yield self.pair(row, study)
            except NotReplayable as reason:
                self.not_replayable[str(reason)] += 1
            seen(count)
        self.not_replayable.update(past.left_out)

    def pair(self, row: Settled, study: StoredStudy) -> Pair:
        """Return one study decided twice.

        Raises:
            NotReplayable: if it cannot be.
        """
        facts = self._facts(study) if self.now.rules or self.then.rules else None
        again = study if self.answer is None else self.answer(row, study)
        return Pair(
            study_instance_uid=study.study_instance_uid,
            job_id=study.job_id,
            origin=study.origin,
            before=self.now.decided(study, facts),
            after=self.then.decided(again, facts),
        )

    def _facts(self, study: StoredStudy) -> StudyFacts:
        """Return what both sets of rules are asked about."""
        rules = (*self.now.rules, *self.then.rules)
        row, content = content_of(self.ground.database, study)
        at = row.completed_at or study.at
        facts = study_facts(row, content, self.ground.spool, at, needed(rules), self.ground.limits)
        before, after = (evaluate.on_receipt(terms.rules, facts) for terms in (self.now, self.then))
        if (before.models, before.skipped.keys()) != (after.models, after.skipped.keys()):
            raise NotReplayable(OTHER_SERIES)
        return facts


def content_of(database: Database, study: StoredStudy) -> tuple[Study, Sequence[Instance]]:
    """Return a study's row and instances, all of them with their files.

    Raises:
        NotReplayable: if files were removed, or it is no longer the content that was judged.
    """
    with database.read() as tx:
        row = studies.get(tx, study.study_instance_uid)
        content = instances.of_study(tx, study.study_instance_uid)
    if row is None or any(one.removed_at is not None for one in content):
        raise NotReplayable(REMOVED)
    if content_digest(content) != study.content_digest:
        raise NotReplayable(CHANGED)
    return row, content


def compared(
    replay: Replay, past: Past, candidate: str, seen: Seen = lambda _count: None
) -> Comparison:
    """Return the whole comparison; of an interrupted one, what was done so far."""
    pairs: list[Pair] = []
    problems: list[str] = []
    try:
        for pair in replay.pairs(past, seen):
            pairs.append(pair)  # noqa: PERF402 - what was done stays when it is interrupted
    except KeyboardInterrupt:
        problems.append("Interrupted: only the newest studies were replayed.")
    return Comparison(candidate, tuple(pairs), dict(replay.not_replayable), tuple(problems))
