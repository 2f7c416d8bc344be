"""An audit message and its XML, as the schema of PS3.15 A.5.1 has it; pure.

The order of elements is the schema's. Text that XML 1.0 cannot hold is replaced by U+FFFD, so that
an AE title or a name that a peer chose makes no message unreadable. Details are base64, as the
schema has them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from xml.etree import ElementTree as ET  # written, never parsed

from gatekeeper.atna.codes import Action, Code, EventId, EventType, ObjectIdType, Outcome, RoleId

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MACHINE_NAME, _IP_ADDRESS = "1", "2"
_APPLICATION_SERVER = "4"


@dataclass(frozen=True, slots=True)
class Participant:
    """A person, a process or a node that takes part (ActiveParticipant).

    Attributes:
        user_id: a person's name, a process's number, an AE title.
        requestor: whether it asked for what happened.
        role: what it does; None where the message has none for it.
        alternative_id: ``AETITLE=...`` of a node (PS3.15 A.5.2.2).
        name: for people to read.
        address: literal IP address or name of its machine.
    """

    user_id: str
    requestor: bool
    role: RoleId | None = None
    alternative_id: str = ""
    name: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Participating:
    """What it happened to (ParticipantObjectIdentification).

    Attributes:
        kind: what the identifier is.
        id: the identifier.
        type_code: 1 person, 2 system object.
        type_role: PS3.15 A.5.1.2.2.
        name: for people to read; empty repeats the identifier, as the schema wants a name.
        query: the query itself, in place of a name; None where there was none.
        details: what else is known, by name.
        sop_classes: instances of each SOP Class UID, of a study.
    """

    kind: ObjectIdType
    id: str
    type_code: int
    type_role: int
    name: str = ""
    query: bytes | None = None
    details: Mapping[str, str] = field(default_factory=dict[str, str])
    sop_classes: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Source:
    """Which system reports (AuditSourceIdentification)."""

    id: str
    enterprise_site: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One event as an audit message.

    Attributes:
        event: which.
        types: its kinds.
        action: what was done.
        outcome: how it ended.
        happened_at: seconds since 1970-01-01 UTC.
        participants: who took part; at least one.
        objects: what it happened to.
        description: of the outcome, where it is not plain success.
        subject: what it is about, for our own lists; no patient data.
    """

    event: EventId
    action: Action
    happened_at: float
    participants: tuple[Participant, ...]
    objects: tuple[Participating, ...] = ()
    types: tuple[EventType, ...] = ()
    outcome: Outcome = Outcome.SUCCESS
    description: str = ""
    subject: str = ""


def study(uid: str, sop_classes: Mapping[str, int]) -> Participating:
    """Return a study as an object of a message."""
    return Participating(ObjectIdType.STUDY, uid, 2, 3, sop_classes=sop_classes)


def patient(patient_id: str) -> Participating:
    """Return a patient as an object of a message: the Patient ID, and no name."""
    return Participating(ObjectIdType.PATIENT, patient_id, 1, 1)


def to_xml(message: Message, source: Source) -> str:
    """Return the XML of a message, on one line and without a declaration: syslog says UTF-8."""
    root = ET.Element("AuditMessage")
    event = _element(
        root,
        "EventIdentification",
        EventActionCode=message.action.value,
        EventDateTime=_moment(message.happened_at),
        EventOutcomeIndicator=str(message.outcome.value),
    )
    _coded(event, "EventID", message.event.value)
    for kind in message.types:
        _coded(event, "EventTypeCode", kind.value)
    if message.description:
        ET.SubElement(event, "EventOutcomeDescription").text = _text(message.description)
    for participant in message.participants:
        _participant(root, participant)
    reporting = _element(
        root,
        "AuditSourceIdentification",
        {"AuditSourceID": source.id},
        AuditEnterpriseSiteID=source.enterprise_site,
    )
    _element(reporting, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
    for one in message.objects:
        _object(root, one)
    return ET.tostring(root, encoding="unicode")


def _participant(root: ET.Element, one: Participant) -> None:
    made = _element(
        root,
        "ActiveParticipant",
        {"UserID": one.user_id or "unknown"},
        AlternativeUserID=one.alternative_id,
        UserName=one.name,
        UserIsRequestor="true" if one.requestor else "false",
        NetworkAccessPointID=one.address,
        NetworkAccessPointTypeCode=_access_point(one.address),
    )
    if one.role is not None:
        _coded(made, "RoleIDCode", one.role.value)


def _object(root: ET.Element, one: Participating) -> None:
    made = _element(
        root,
        "ParticipantObjectIdentification",
        {"ParticipantObjectID": one.id},
        ParticipantObjectTypeCode=str(one.type_code),
        ParticipantObjectTypeCodeRole=str(one.type_role),
    )
    _coded(made, "ParticipantObjectIDTypeCode", one.kind.value)
    if one.query is None:
        ET.SubElement(made, "ParticipantObjectName").text = _text(one.name or one.id)
    else:
        ET.SubElement(made, "ParticipantObjectQuery").text = _base64(one.query)
    for name, value in one.details.items():
        data = _base64(value.encode("utf-8", "replace"))
        _element(made, "ParticipantObjectDetail", {"type": name, "value": data})
    if one.sop_classes:
        described = ET.SubElement(made, "ParticipantObjectDescription")
        for uid, count in sorted(one.sop_classes.items()):
            _element(described, "SOPClass", {"UID": uid, "NumberOfInstances": str(count)})


def _element(
    parent: ET.Element, tag: str, required: Mapping[str, str] | None = None, **optional: str
) -> ET.Element:
    """Return a new element with what is required, and of the rest what is not empty."""
    given = {**(required or {}), **{name: value for name, value in optional.items() if value}}
    return ET.SubElement(parent, tag, {name: _text(value) for name, value in given.items()})


def _coded(parent: ET.Element, tag: str, code: Code) -> None:
    _element(
        parent,
        tag,
        {"csd-code": code.value, "codeSystemName": code.scheme},
        displayName=code.meaning,
        originalText=code.meaning,
    )


def _text(value: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _access_point(address: str) -> str:
    if not address:
        return ""
    try:
        ip_address(address.partition("%")[0])
    except ValueError:
        return _MACHINE_NAME
    return _IP_ADDRESS


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def counted(sop_classes: Iterable[str]) -> dict[str, int]:
    """Return how often each SOP Class UID is there."""
    found: dict[str, int] = {}
    for uid in sop_classes:
        found[uid] = found.get(uid, 0) + 1
    return found
