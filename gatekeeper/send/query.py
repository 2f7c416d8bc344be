"""C-FIND as SCU: which studies of a patient, and which instances of a study, a node says it has.

Study Root, with the unique keys of each level (PS3.4 C.4.1, C.6.2). The answer is whole or an
error: over the limit of matches the query is cancelled and nothing is concluded from what had come.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from gatekeeper import elements
from gatekeeper.assemble.priors import StudyFacts
from gatekeeper.elements import Element, NotReadable
from gatekeeper.errors import TransportError
from gatekeeper.send import command, dialogue
from gatekeeper.send.association import Association
from gatekeeper.settings import SendSettings, Settings
from storage.records import Node

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
"""Study Root Query/Retrieve Information Model - FIND."""

_SUCCESS = 0x0000
_PENDING = (0xFF00, 0xFF01)
_LARGEST_IDENTIFIER = 256 * 1024
"""Bytes; an identifier of an instance has a few UIDs."""
CHARACTER_SET, _SOP_CLASS, _SOP_INSTANCE = 0x00080005, 0x00080016, 0x00080018
_DATE, _TIME, LEVEL = 0x00080020, 0x00080030, 0x00080052
_MODALITY, _MODALITIES = 0x00080060, 0x00080061
_PATIENT_ID, _ISSUER = 0x00100020, 0x00100021
_STUDY, _SERIES = 0x0020000D, 0x0020000E


class QueryFailed(TransportError):
    """A node answered a query with a failure, or with more than is taken."""


@dataclass(frozen=True, slots=True)
class PatientKey:
    """Whose studies are asked for, and until which day.

    Attributes:
        patient_id: Patient ID as it was received, encoded.
        character_set: Specific Character Set that it is in, empty for ASCII.
        until: last Study Date as YYYYMMDD, empty for any.
    """

    patient_id: bytes
    character_set: bytes = b""
    until: str = ""


def instances_of(node: Node, series: Iterable[tuple[str, str]], settings: Settings) -> set[str]:
    """Return the SOP Instance UIDs that `node` has in these series, on one association.

    Args:
        node: who is asked.
        series: Study and Series Instance UIDs.
        settings: ``send.find_matches`` and ``send.find_seconds`` bound each query.

    Raises:
        TransportError: if it could not be reached, takes no queries, or is lost.
        QueryFailed: if it answered with a failure or with too many matches.
    """
    found: set[str] = set()
    with dialogue.call(node, STUDY_ROOT_FIND, settings) as association:
        for study_uid, series_uid in series:
            found |= set(_one_series(association, study_uid, series_uid, settings.send))
    return found


def studies_of(node: Node, patient: PatientKey, settings: Settings) -> list[StudyFacts]:
    """Return the studies of a patient that `node` says it has, as it says.

    Raises:
        TransportError, QueryFailed: as `instances_of`.
    """
    with dialogue.call(node, STUDY_ROOT_FIND, settings) as association:
        matches = _matches(association, study_keys(patient), settings.send)
        return [_study(match) for match in matches]


def modalities_of(node: Node, study_uids: Sequence[str], settings: Settings) -> dict[str, set[str]]:
    """Return the modalities of the series that `node` has in each of these studies.

    Raises:
        TransportError, QueryFailed: as `instances_of`.
    """
    with dialogue.call(node, STUDY_ROOT_FIND, settings) as association:
        return {
            uid: {modality for _, modality in _series_of(association, uid, settings.send)}
            for uid in study_uids
        }


def content_of(node: Node, study_uid: str, settings: Settings) -> dict[str, str]:
    """Return what `node` has in a study: SOP Instance UID -> SOP Class UID, empty where unknown.

    Raises:
        TransportError, QueryFailed: as `instances_of`.
    """
    found: dict[str, str] = {}
    with dialogue.call(node, STUDY_ROOT_FIND, settings) as association:
        for series_uid, _ in _series_of(association, study_uid, settings.send):
            found |= _one_series(association, study_uid, series_uid, settings.send)
    return found


def study_keys(patient: PatientKey) -> list[Element]:
    """Return the keys of a query for the studies of a patient; an empty one asks for the value."""
    sets = (
        [elements.text(CHARACTER_SET, "CS", patient.character_set)] if patient.character_set else []
    )
    return [
        *sets,
        # A range of dates (PS3.4 C.2.2.2.5).
        elements.text(_DATE, "DA", b"-" + patient.until.encode("ascii") if patient.until else b""),
        elements.text(_TIME, "TM"),
        elements.code(LEVEL, "STUDY"),
        elements.text(_MODALITIES, "CS"),
        elements.text(_PATIENT_ID, "LO", patient.patient_id),
        elements.text(_ISSUER, "LO"),
        elements.uid(_STUDY, ""),
    ]


def series_keys(study_uid: str) -> list[Element]:
    """Return the keys of a query for the series of a study."""
    return [
        elements.code(LEVEL, "SERIES"),
        elements.text(_MODALITY, "CS"),
        elements.uid(_STUDY, study_uid),
        elements.uid(_SERIES, ""),
    ]


def image_keys(study_uid: str, series_uid: str) -> list[Element]:
    """Return the keys of a query for the instances of a series."""
    return [
        elements.uid(_SOP_CLASS, ""),
        elements.uid(_SOP_INSTANCE, ""),
        elements.code(LEVEL, "IMAGE"),
        elements.uid(_STUDY, study_uid),
        elements.uid(_SERIES, series_uid),
    ]


def _one_series(
    association: Association, study_uid: str, series_uid: str, settings: SendSettings
) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _matches(association, image_keys(study_uid, series_uid), settings):
        uid, series = _text(match, _SOP_INSTANCE), _text(match, _SERIES)
        if not uid or series not in ("", series_uid):
            raise QueryFailed("a match that is not what was asked for")
        found[uid] = _text(match, _SOP_CLASS)
    return found


def _series_of(
    association: Association, study_uid: str, settings: SendSettings
) -> list[tuple[str, str]]:
    """Return Series Instance UID and Modality of each series of a study."""
    found: list[tuple[str, str]] = []
    for match in _matches(association, series_keys(study_uid), settings):
        uid, study = _text(match, _SERIES), _text(match, _STUDY)
        if not uid or study not in ("", study_uid):
            raise QueryFailed("a match that is not what was asked for")
        found.append((uid, _text(match, _MODALITY)))
    return found


def _matches(
    association: Association, keys: Sequence[Element], settings: SendSettings
) -> Iterator[Dataset]:
    """Ask one query and yield each match; what was yielded counts only once all have come."""
    context = dialogue.chosen(association, STUDY_ROOT_FIND)
    message_id = association.next_message_id()
    query = elements.write(keys, context[1])
    association.send(context, command.find_request(message_id, STUDY_ROOT_FIND), query)
    deadline = time.monotonic() + settings.find_seconds
    matches = 0
    while True:
        answer = dialogue.response(
            association,
            min(deadline, time.monotonic() + settings.dimse_timeout),
            command.FIND_RSP,
            message_id,
            _LARGEST_IDENTIFIER,
        )
        status = answer.command.status
        if status == _SUCCESS:
            return
        if status not in _PENDING:
            shown = "without a status" if status is None else f"with status {status:04X}"
            raise QueryFailed(f"the peer answered the query {shown}")
        matches += 1
        if matches > settings.find_matches:
            association.send(context, command.cancel_request(message_id))
            raise QueryFailed(f"over {settings.find_matches} matches of one query")
        try:
            yield elements.read(answer.data, context[1], _LARGEST_IDENTIFIER)
        except NotReadable as error:
            raise QueryFailed(f"a match that cannot be read: {error}") from None


def _study(match: Dataset) -> StudyFacts:
    modalities = _text(match, _MODALITIES).split("\\")
    return StudyFacts(
        study_instance_uid=_text(match, _STUDY),
        patient_id=decoded(match, _PATIENT_ID),
        issuer=decoded(match, _ISSUER),
        date=_text(match, _DATE),
        time=_text(match, _TIME),
        modalities=tuple(one.strip() for one in modalities if one.strip()),
    )


def decoded(dataset: Dataset, tag: int) -> str:
    """Return a text as its character set says, padding dropped; empty when it cannot be read."""
    raw = elements.bytes_of(dataset, tag)
    if raw.isascii():
        return raw.decode("ascii").strip("\0 ")
    try:
        return str(dataset[tag].value).strip("\0 ")
    except Exception:  # noqa: BLE001 - whatever a stranger's bytes do to the parser
        return ""


def _text(match: Dataset, tag: int) -> str:
    try:
        return elements.text_of(match, tag)
    except NotReadable as error:
        raise QueryFailed(f"a match that cannot be read: {error}") from None
