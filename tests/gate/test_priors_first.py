"""Priors that a rule asked for go to a downstream node before the study, which waits for them."""

from __future__ import annotations

from sqlalchemy import Connection
from support.passage import Passage

from gatekeeper import periodic
from storage import priors
from storage.records import Prior

STUDY, BEFORE = "1.2.826.0.1.3680043.8.498.90", "1.2.826.0.1.3680043.8.498.91"


def asked_and_judged(passage: Passage) -> None:
    """Complete a study whose priors are asked for, and judge it CLEAR."""
    passage.receive(STUDY)
    passage.complete(STUDY)
    with passage.database.begin() as tx:
        priors.request(tx, STUDY, "ARCHIVE", "old ones", 1, "")
    passage.judge(STUDY, "CLEAR")


def test_a_clear_study_waits_for_its_priors_and_follows_them(passage: Passage) -> None:
    """The AI compares with what it has: the prior is on a delivery of its own, made first."""
    asked_and_judged(passage)
    periodic.tick_gate(passage.context)
    assert passage.forwards(STUDY) == ["waiting"]
    with passage.database.begin() as tx:
        assert priors.answered(tx, _claim(tx), [BEFORE])
    with passage.database.begin() as tx:
        found = _claim(tx)
    fetched = passage.receive(BEFORE, prior=True, source_ae="ARCHIVE")
    with passage.database.begin() as tx:
        assert priors.received(tx, found)

    assert periodic.tick_gate(passage.context) == 1

    assert passage.forwards(STUDY) == ["sent"]
    sent = passage.uids("AI")
    assert sent[: len(fetched)] == [one.sop_instance_uid for one in fetched]
    assert len(sent) == len(fetched) + 2
    periodic.tick_forward(passage.context)
    assert not set(passage.uids("ARCHIVE")) & {one.sop_instance_uid for one in fetched}


def test_a_study_goes_on_without_priors_that_do_not_come(passage: Passage) -> None:
    """None, or given up: the wait has an end of its own."""
    asked_and_judged(passage)
    with passage.database.begin() as tx:
        assert priors.fail(tx, _claim(tx), "the archive is gone", None)

    assert periodic.tick_gate(passage.context) == 1

    assert passage.forwards(STUDY) == ["sent"]
    assert len(passage.uids("AI")) == 2


def _claim(tx: Connection) -> Prior:
    found = priors.claim(tx, "test", 60.0)
    assert found is not None
    return found
