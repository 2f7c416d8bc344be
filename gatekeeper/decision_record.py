"""Decision record: one signed document of what was decided about a study, on what, and by whom.

A record says what was received (UIDs and digests), what each job found (model, calibration,
threshold, verdict, version of the configuration), what became of it, and what reviewers said. A
new decision makes a new record that names the digest of the one before it. It holds UIDs, AE
titles, and names and words of those who decided; nothing of the patient. `gatekeeper study verify`
compares it with its signature and with today's facts.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from gatekeeper import __version__
from gatekeeper.errors import ConfigurationError
from gatekeeper.identifiers import Digest
from gatekeeper.log import get_logger
from gatekeeper.signing import KEY, SigningKey
from storage import (
    audit,
    decision_records,
    failpoint,
    feedback,
    forwards,
    instances,
    outcomes,
    studies,
)
from storage.decision_records import DecisionRecord
from storage.engine import Database, now
from storage.records import AuditEntry, Feedback, Forward, Instance, Job, Outcome, Result

PAYLOAD_TYPE = "application/vnd.gatekeeper.decision-record+json"
FORMAT = 1
_FORWARDS_AT_MOST = 1000
_LINES_AT_MOST = 10_000

log = get_logger()


def sign_due(database: Database, key_file: Path, at_once: int) -> int:
    """Sign a record of each study that is due one; return how many were signed.

    May run twice at once: who takes the study off the list signs it, in the same transaction.

    Args:
        database: with what was decided.
        key_file: of the key that signs, made when nothing was signed yet.
        at_once: most records signed.

    Raises:
        ConfigurationError: if the key cannot be used, or is gone although records name it.
        DatabaseUnavailableError: in trouble; what is due stays due.
    """
    with database.read() as tx:
        due = decision_records.due(tx, at_once)
        known = decision_records.key_ids(tx) if due else set[str]()
    if not due:
        return 0
    key = _key(key_file, made_before=bool(known))
    return sum(_sign(database, key, uid) for uid in due)


def content(tx: Connection, study_uid: str) -> dict[str, Any]:
    """Return what a study's record says, but for its number and time.

    Raises:
        KeyError: if there is no such study.
    """
    study = studies.get(tx, study_uid)
    if study is None:
        raise KeyError(study_uid)
    received = sorted(
        instances.of_study(tx, study_uid), key=lambda one: (one.sop_instance_uid, one.digest)
    )
    judged = reversed(outcomes.for_study(tx, study_uid))
    sent = reversed(forwards.listing(tx, study=study_uid, limit=_FORWARDS_AT_MOST))
    trail = reversed(audit.listing(tx, study=study_uid, limit=_LINES_AT_MOST))
    return {
        "format": FORMAT,
        "study_instance_uid": study_uid,
        "source": study.source_ae,
        "received": [_received(one) for one in received],
        "judgements": [
            _judgement(job, outcome, outcomes.results_of_job(tx, job.id)) for job, outcome in judged
        ],
        "forwards": [_forward(one) for one in sent],
        "feedback": [_feedback(one) for one in feedback.of_study(tx, study_uid)],
        "trail": [_line(one) for one in trail],
    }


def payload_of(document: dict[str, Any]) -> str:
    """Return the document as it is signed."""
    return json.dumps(document, sort_keys=True, indent=1, allow_nan=False)


def _sign(database: Database, key: SigningKey, study_uid: str) -> bool:
    with database.begin() as tx:
        if not decision_records.take(tx, study_uid):
            return False
        before = decision_records.latest(tx, study_uid)
        made_at = tx.execute(select(now())).scalar_one()
        number = 1 if before is None else before.number + 1
        document = {
            **content(tx, study_uid),
            "number": number,
            "previous": "" if before is None else before.digest,
            "made_at": datetime.fromtimestamp(made_at, UTC).isoformat(),
            "software": f"gatekeeper {__version__}",
        }
        payload = payload_of(document)
        signed = key.sign(payload.encode(), PAYLOAD_TYPE)
        decision_records.add(
            tx,
            DecisionRecord(
                study_instance_uid=study_uid,
                number=number,
                made_at=made_at,
                payload=payload,
                digest=Digest.of(payload.encode()),
                key_id=signed.key_id,
                signature=signed.signature,
            ),
        )
        failpoint.reached("tick.recording", study_uid)
    log.info("decision_recorded", study=study_uid, count=number)
    return True


def _key(path: Path, *, made_before: bool) -> SigningKey:
    key = SigningKey.read(path)
    if key is not None:
        return key
    if made_before:
        raise ConfigurationError(
            KEY, f"{path} is gone, and records were signed with it: put it back, or another there"
        )
    try:
        made = SigningKey.make(path)
    except OSError as error:
        raise ConfigurationError(
            KEY, f"{path} cannot be written ({type(error).__name__})"
        ) from None
    log.info("signing_key_made", key=made.key_id[:16])
    return made


def _received(one: Instance) -> dict[str, Any]:
    return {
        "sop_instance_uid": one.sop_instance_uid,
        "series_instance_uid": one.series_instance_uid,
        "sop_class_uid": one.sop_class_uid,
        "sha256": one.digest,
        "size": one.size,
        "from": one.source_ae,
    }


_OF_SERIES = (
    "series_instance_uid",
    "verdict",
    "reason",
    "score",
    "p_value",
    "detector",
    "profile",
    "bundle_version",
    "bundle_digest",
    "calibration",
    "calibration_digest",
    "calibration_size",
    "site_calibrated",
    "realised_rate",
    "false_hold_rate",
    "defects",
)


def _judgement(job: Job, outcome: Outcome, results: list[Result]) -> dict[str, Any]:
    evidence = dict(outcome.evidence)
    series = evidence.pop("series", [])
    return {
        "job": job.id,
        "attempt": job.attempt,
        "revision": job.revision,
        "content_digest": job.content_digest,
        "models_digest": job.model_digest,
        "verdict": outcome.verdict,
        "reason": outcome.reason,
        "score": outcome.score,
        "p_value": outcome.p_value,
        "false_hold_rate": evidence.get("false_hold_rate"),
        "reference_stands_in": evidence.get("reference_stands_in"),
        "configuration": evidence.get("configuration"),
        "policy": evidence.get("policy"),
        "series": [{key: one[key] for key in _OF_SERIES if key in one} for one in series],
        "results": [
            {
                "kind": one.kind,
                "language": one.language,
                "sop_instance_uid": one.sop_instance_uid,
                "sha256": one.digest,
            }
            for one in results
        ],
    }


def _feedback(one: Feedback) -> dict[str, Any]:
    return {
        "job": one.job_id,
        "reviewer": one.reviewer,
        "verdict": one.verdict,
        "agrees": one.agrees,
        "remark": one.remark,
    }


def _line(one: AuditEntry) -> dict[str, Any]:
    """Return a line of the audit trail; its digest covers the rest of it."""
    return {"number": one.id, "actor": one.actor, "action": one.action, "sha256": one.digest}


def _forward(one: Forward) -> dict[str, Any]:
    return {
        "node": one.node,
        "gated": one.gated,
        "revision": one.revision,
        "content_digest": one.content_digest,
        "state": one.state.value,
        "verdict": one.verdict,
        "reason": one.reason,
        "held_at": one.held_at,
        "hold_until": one.hold_until,
        "decided_at": one.decided_at,
        "decided_by": one.decided_by,
    }
