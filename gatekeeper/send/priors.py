"""Fetching priors: asking an archive which there are, and fetching each into the spool.

One claim is one question or one study. What is here already is not fetched again; what came is
believed only when every instance that the archive names is here, durable. A failed call comes again
after a growing delay, a bounded number of times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from gatekeeper import elements
from gatekeeper.assemble.priors import StudyFacts, choose, earlier, why_none
from gatekeeper.atna.transfers import Transfers
from gatekeeper.errors import TransportError
from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.listen.messages import Incoming
from gatekeeper.listen.receive import Arrival, Receiver
from gatekeeper.log import get_logger
from gatekeeper.send import query, retrieve
from gatekeeper.send.command import Request
from gatekeeper.send.query import PatientKey
from gatekeeper.send.retrying import delay_after
from gatekeeper.settings import Settings
from storage import instances, priors
from storage.engine import Database
from storage.records import Instance, Node, Prior, Retrieve
from storage.spool import Spool

_TAGS = ("SpecificCharacterSet", "StudyDate", "StudyTime", "PatientID", "IssuerOfPatientID")
_DATE, _TIME = 0x00080020, 0x00080030
_PATIENT_ID, _ISSUER = 0x00100020, 0x00100021
_DEFER_BYTES = 64 * 1024
_MODALITIES_ASKED = 20
"""Studies, the newest first, whose series are asked for modalities that the archive left out."""
_NO_IMAGES = frozenset({"SR", "PR", "KO", "SEG", "DOC", "OT", ""})

log = get_logger()


@dataclass(frozen=True, slots=True)
class Fetcher:
    """What priors are fetched with."""

    database: Database
    spool: Spool
    settings: Settings
    receiver: Receiver


def fetch(fetcher: Fetcher, task: Prior, node: Node) -> None:
    """Make one attempt at a claimed request or prior, and end its claim.

    Raises:
        DatabaseUnavailableError: if the end could not be written; it is claimed again.
    """
    known = log.bind(node=task.node, study=task.study_instance_uid, rule=task.rule)
    try:
        if task.prior_study_uid:
            count = _study(fetcher, task, node)
            with fetcher.database.begin() as tx:
                ended = priors.received(tx, task)
                if ended:
                    Transfers(fetcher.settings).fetched(tx, task.prior_study_uid, node)
            if ended:
                known.info("prior_received", instances=count)
            return
        chosen, reason = _ask(fetcher, task, node)
        with fetcher.database.begin() as tx:
            ended = priors.answered(tx, task, chosen, reason)
        if ended:
            known.info("priors_found", count=len(chosen), reason=reason)
    except TransportError as error:
        give_back(fetcher.database, fetcher.settings, task, str(error))


def give_back(database: Database, settings: Settings, task: Prior, reason: str) -> None:
    """End a claim that came to nothing: it comes again after a while, or is given up.

    Raises:
        DatabaseUnavailableError: if that could not be written.
    """
    limits = settings.priors
    made = task.attempt - task.attempts_before
    delay = delay_after(made, limits.maximum_attempts, limits)
    with database.begin() as tx:
        held = priors.fail(tx, task, reason, delay)
    known = log.bind(node=task.node, study=task.study_instance_uid, reason=reason)
    if held and delay is None:
        known.error("prior_dead")
    elif held:
        known.warning("prior_failed", seconds=round(delay or 0.0, 1))


def _ask(fetcher: Fetcher, task: Prior, node: Node) -> tuple[list[str], str]:
    """Return the priors to fetch, and when there is none why."""
    with fetcher.database.read() as tx:
        content = instances.of_study(tx, task.study_instance_uid)
    header = _header(fetcher.spool, content)
    if header is None:
        return [], "no file of the study can be read here"
    # Encoded, before anything decodes it.
    raw = elements.bytes_of(header, _PATIENT_ID).strip(b"\0 ")
    current = StudyFacts(
        study_instance_uid=task.study_instance_uid,
        patient_id=query.decoded(header, _PATIENT_ID),
        issuer=query.decoded(header, _ISSUER),
        date=query.decoded(header, _DATE),
        time=query.decoded(header, _TIME),
        modalities=_modalities(content),
    )
    if not raw or not current.date:
        return [], why_none(current, [], task.modality)
    if b"\\" in raw:
        return [], "the study has several Patient IDs in one"
    patient = PatientKey(raw, _character_set(header), current.date)
    found = query.studies_of(node, patient, fetcher.settings)
    found = _with_modalities(current, found, node, fetcher.settings)
    chosen = choose(current, found, task.count, task.modality)
    return chosen, "" if chosen else why_none(current, found, task.modality)


def _with_modalities(
    current: StudyFacts, found: Sequence[StudyFacts], node: Node, settings: Settings
) -> list[StudyFacts]:
    """Return what was found, with the modalities that an archive does not tell of a study."""
    untold = [one for one in earlier(current, found) if not one.modalities][:_MODALITIES_ASKED]
    if not untold:
        return list(found)
    uids = [one.study_instance_uid for one in untold]
    told = query.modalities_of(node, uids, settings)
    return [
        replace(one, modalities=tuple(sorted(told[one.study_instance_uid])))
        if one.study_instance_uid in told
        else one
        for one in found
    ]


def _study(fetcher: Fetcher, task: Prior, node: Node) -> int:
    """Fetch one prior study and return of how many instances it is.

    Raises:
        TransportError: if not all of it is here afterwards.
    """
    settings = fetcher.settings
    content = query.content_of(node, task.prior_study_uid, settings)
    if not content:
        raise TransportError("it has no instances of the prior study any more")
    if not _missing(fetcher, task, content):
        return len(content)
    seconds = settings.priors.retrieve_seconds
    if node.retrieve is Retrieve.MOVE:
        ended = retrieve.move(node, task.prior_study_uid, settings, seconds)
    else:
        classes = {uid for uid in content.values() if uid}
        if "" in content.values():
            classes |= retrieve.USUAL_CLASSES
        take = _taker(fetcher, task, node)
        ended = retrieve.get(node, task.prior_study_uid, classes, settings, take, seconds)
    missing = _missing(fetcher, task, content)
    if missing:
        why = "; ".join(ended.refused) or f"it reports {ended.failed} as failed"
        raise TransportError(f"{len(missing)} of {len(content)} instances did not come: {why}")
    return len(content)


def _taker(fetcher: Fetcher, task: Prior, node: Node) -> retrieve.Take:
    association = OpenAssociation(
        node.ae_title, node.host, may_send=False, prior_study=task.prior_study_uid
    )

    def take(request: Request, transfer_syntax_uid: str) -> Incoming:
        arrival = Arrival(request.sop_class_uid, request.sop_instance_uid, transfer_syntax_uid)
        return fetcher.receiver.begin(arrival, association)

    return take


def _missing(fetcher: Fetcher, task: Prior, content: dict[str, str]) -> set[str]:
    """Return the instances of a prior study whose files are not kept here."""
    with fetcher.database.read() as tx:
        here = instances.of_study(tx, task.prior_study_uid, include_own=True, include_priors=True)
    return set(content) - {one.sop_instance_uid for one in here if one.removed_at is None}


def _header(spool: Spool, content: Sequence[Instance]) -> Dataset | None:
    """Return what tells whose study it is, from the first file that can be read."""
    for one in content:
        if one.removed_at is None:
            found = _read(spool.path(one.digest))
            if found is not None:
                return found
    return None


def _read(path: Path) -> Dataset | None:
    try:
        return dcmread(
            path,
            stop_before_pixels=True,
            specific_tags=list(_TAGS),
            defer_size=_DEFER_BYTES,
        )
    except Exception:  # noqa: BLE001 - whatever a stranger's bytes do to the parser
        return None


def _character_set(header: Dataset) -> bytes:
    """Return Specific Character Set (0008,0005) as it is written, empty without one."""
    found = header.get("SpecificCharacterSet") or ""
    names = [found] if isinstance(found, str) else [str(one) for one in found]
    return "\\".join(names).encode("ascii", "ignore")


def _modalities(content: Sequence[Instance]) -> tuple[str, ...]:
    """Return the study's modalities, that of most images first."""
    counted = Counter(one.modality for one in content if one.modality not in _NO_IMAGES)
    return tuple(sorted(counted, key=lambda name: (-counted[name], name)))
