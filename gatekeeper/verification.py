"""Verification: whether a study's decision records are genuine, and whether the facts still agree.

Three questions, each with its own answer: is every record what a known key signed; does each name
the one before it; and do database and spool still say what the newest record says. The first two
need nothing but the records and a public key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection

from gatekeeper import decision_record, signing
from gatekeeper.decision_record import PAYLOAD_TYPE
from gatekeeper.identifiers import Digest
from gatekeeper.signing import SignatureRefusedError, Signed
from storage import decision_records, jobs, studies
from storage.records import JobState, StudyState
from storage.spool import Spool

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_OWN = {"number", "previous", "made_at", "software"}
"""What a record says of itself."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing verified.

    Attributes:
        what: what it is about.
        ok: whether it is as it should be.
        text: what was found, in one sentence.
    """

    what: str
    ok: bool
    text: str


def signed_of(records: Sequence[decision_records.DecisionRecord]) -> list[Signed]:
    """Return stored records as what a key signed."""
    return [Signed(one.payload.encode(), one.key_id, one.signature) for one in records]


def verify_chain(
    signed: Sequence[Signed], keys: Mapping[str, Ed25519PublicKey], study_uid: str = ""
) -> Iterator[Answer]:
    """Yield whether each record is genuine and follows the one before it; nothing else is read.

    Args:
        signed: a study's records, the first first.
        keys: public keys that are trusted, by id.
        study_uid: the study that they must be about; empty for that of the first.
    """
    if not signed:
        yield Answer("records", False, "there is no decision record")
    before = ""
    for number, one in enumerate(signed, start=1):
        what = f"record {number}"
        try:
            signing.verify(one, PAYLOAD_TYPE, keys)
            document: dict[str, Any] = json.loads(one.payload)
            study_uid = study_uid or str(document["study_instance_uid"])
            problem = _out_of_line(document, number, before, study_uid)
        except SignatureRefusedError as error:
            problem = str(error)
        except (ValueError, KeyError, TypeError):
            problem = "signed, and no decision record"
        said = f"signed with {one.key_id[:16]}"
        yield Answer(what, problem is None, problem or said)
        before = Digest.of(one.payload)


def verify_facts(
    tx: Connection, spool: Spool, study_uid: str, newest: Mapping[str, Any]
) -> Iterator[Answer]:
    """Yield whether database and spool say what the newest record says.

    Args:
        tx: an open transaction.
        spool: with the received files; each is read whole and hashed.
        study_uid: the study.
        newest: its newest record.
    """
    try:
        today = json.loads(decision_record.payload_of(decision_record.content(tx, study_uid)))
    except KeyError:
        yield Answer("facts", False, "the study is not known here")
        return
    then = {key: value for key, value in newest.items() if key not in _OWN}
    more_to_come = _more_to_come(tx, study_uid)
    for part in sorted(today.keys() | then.keys()):
        yield _compared(part, then.get(part), today.get(part), more_to_come)
    yield from _files(spool, then.get("received", []))


def _more_to_come(tx: Connection, study_uid: str) -> bool:
    """Return whether newer facts than the newest record's are to be expected."""
    study = studies.get(tx, study_uid)
    receiving = study is not None and study.state is StudyState.RECEIVING
    under_way = any(
        job.state in (JobState.QUEUED, JobState.CLAIMED)
        for job in jobs.listing(tx, study=study_uid, limit=1)
    )
    return receiving or under_way or decision_records.is_due(tx, study_uid)


def _out_of_line(
    document: Mapping[str, Any], number: int, before: str, study_uid: str
) -> str | None:
    if document["study_instance_uid"] != study_uid:
        return "it is about another study"
    if document["number"] != number:
        return f"it is number {document['number']}: a record is missing or out of order"
    if document["previous"] != before:
        return "it does not follow the record before it"
    return None


def _compared(part: str, then: Any, today: Any, more_to_come: bool) -> Answer:
    if then == today:
        return Answer(part, True, "as recorded")
    if not isinstance(then, list) or not isinstance(today, list):
        return Answer(part, False, f"recorded {then!r}, today {today!r}")
    recorded, found = cast("list[Any]", then), cast("list[Any]", today)
    missing = sum(one not in found for one in recorded)
    added = sum(one not in recorded for one in found)
    if more_to_come and not missing:
        return Answer(part, True, f"as recorded, and {added} newer: the next record is due")
    text = f"{missing} recorded entries are not as they were, {added} are new or changed"
    return Answer(part, False, text)


def _files(spool: Spool, received: Sequence[Mapping[str, Any]]) -> Iterator[Answer]:
    kept, gone, other = 0, 0, 0
    for one in received:
        try:
            found = _digest(spool, str(one["sha256"]))
        except FileNotFoundError:
            gone += 1
            continue
        kept += found == one["sha256"]
        other += found != one["sha256"]
    text = f"{kept} files have the recorded digests"
    if gone:
        text += f", {gone} are not kept any more"
    if other:
        text += f", {other} have other content"
    yield Answer("files", not other, text)


def _digest(spool: Spool, digest: str) -> str:
    with spool.open(digest) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
