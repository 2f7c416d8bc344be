"""What people decide is in the signed record of the study, beside what the gate decided."""

from __future__ import annotations

import json
from pathlib import Path

from support.passage import Passage

from gatekeeper import decision_record, signing
from gatekeeper.gate import people
from gatekeeper.verification import signed_of, verify_chain, verify_facts
from storage import audit, decision_records

STUDY = "1.2.826.0.1.3680043.8.498.95"


def test_a_release_and_a_reviewers_word_make_the_next_record(
    passage: Passage, tmp_path: Path
) -> None:
    """Who, why, and the lines of the trail; the first record says that it was held."""
    key = tmp_path / "keys" / "signing.pem"
    passage.walk(STUDY, "SUSPECT")
    assert decision_record.sign_due(passage.database, key, 10) == 1
    with passage.database.begin() as tx:
        people.release(tx, STUDY, "Dr Kern", "motion, the lesion is clear")
        people.comment(tx, STUDY, "Dr Kern", agrees=True, remark="motion")
    assert decision_record.sign_due(passage.database, key, 10) == 1

    with passage.database.read() as tx:
        records = decision_records.of_study(tx, STUDY)
        first, second = (json.loads(one.payload) for one in records)
        lines = audit.listing(tx, study=STUDY)
        answers = [
            *verify_chain(signed_of(records), signing.public_keys(key), STUDY),
            *verify_facts(tx, passage.spool, STUDY, second),
        ]
    of_ai = [one for one in first["forwards"] if one["node"] == "AI"]
    assert [one["state"] for one in of_ai] == ["held"]
    (released,) = [one for one in second["forwards"] if one["node"] == "AI"]
    assert (released["state"], released["decided_by"]) == ("sent", "Dr Kern")
    assert second["feedback"][0]["remark"] == "motion"
    assert [one["sha256"] for one in second["trail"]] == [one.digest for one in reversed(lines)]
    assert {one["action"] for one in second["trail"]} == {"hold", "release", "feedback"}
    assert all(one.ok for one in answers), answers
