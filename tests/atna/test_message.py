"""The XML of each event: valid by the schema of PS3.15 A.5.1, with the codes of A.5.3."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

from gatekeeper.atna.alerts import AccessChanged, ConfigurationChanged, MessagesLost, NodeRefused
from gatekeeper.atna.codes import Action, Outcome, RoleId
from gatekeeper.atna.events import (
    ApplicationActivity,
    AuditLogUsed,
    Event,
    InstancesAccessed,
    Query,
    StudyDeleted,
    Transfer,
    UserAuthentication,
    entity,
)
from gatekeeper.atna.message import Source, patient, to_xml

Valid = Callable[[str], ET.Element]

AT = 1_780_000_000.25
STUDY = "1.2.826.0.1.77.5"
MR = "1.2.840.10008.5.1.4.1.1.4"
US = entity("GATEKEEPER", "gate.example", requestor=False)
SCANNER = entity("CT1", "10.1.2.3", requestor=True, role=RoleId.SOURCE)
PACS = entity("PACS", "pacs.example", requestor=False, role=RoleId.DESTINATION)

# Event, and of its message: EventID, EventTypeCodes, action, outcome, and the roles in order.
EVENTS: dict[str, tuple[Event, str, list[str], str, str, list[str]]] = {
    "start": (
        ApplicationActivity("listen", True, AT), "110100", ["110120"], "E", "0", ["110150"]
    ),
    "stop": (
        ApplicationActivity("listen", False, AT), "110100", ["110121"], "E", "0", ["110150"]
    ),
    "log used": (AuditLogUsed("ada", "10.0.0.9", AT), "110101", [], "R", "0", ["", ""]),
    "begin": (
        Transfer(SCANNER, PACS, STUDY, {MR: 3}, AT, begins=True),
        "110102", [], "E", "0", ["110153", "110152"],
    ),
    "accessed": (InstancesAccessed("ada", "10.0.0.9", AT, STUDY), "110103", [], "R", "0", ["", ""]),
    "transferred": (
        Transfer(SCANNER, PACS, STUDY, {MR: 3}, AT, action=Action.CREATE),
        "110104", [], "C", "0", ["110153", "110152"],
    ),
    "not transferred": (
        Transfer(SCANNER, PACS, STUDY, {MR: 3}, AT, outcome=Outcome.SERIOUS_FAILURE, reason="gone"),
        "110104", [], "R", "8", ["110153", "110152"],
    ),
    "deleted": (StudyDeleted(STUDY, {MR: 3}, "age", AT), "110105", [], "D", "0", [""]),
    "query": (
        Query(SCANNER, "/dicom-web/studies", "PatientName=DOE*", 2, AT),
        "110112", [], "E", "0", ["110153", "110152"],
    ),
    "refused node": (
        NodeRefused("EVIL", "10.6.6.6", "the address is not one of the node's", 4, AT),
        "110113", ["110126"], "E", "8", ["", ""],
    ),
    "configuration": (
        ConfigurationChanged(7, "ada", "a new PACS", True, True, True, AT),
        "110113", ["110128", "110131"], "E", "0", ["", ""],
    ),
    "unknown change": (
        ConfigurationChanged(8, "unknown", "", False, True, False, AT),
        "110113", ["110131"], "E", "4", ["", ""],
    ),
    "roles": (
        AccessChanged("ada", "10.0.0.9", "reader", "may read", True, AT),
        "110113", ["110136"], "E", "0", ["", ""],
    ),
    "password": (
        AccessChanged("ada", "10.0.0.9", "grace", "a new password", False, AT),
        "110113", ["110137"], "E", "0", ["", ""],
    ),
    "lost": (MessagesLost(12, AT), "110113", ["110133"], "E", "8", [""]),
    "login": (UserAuthentication("ada", "10.0.0.9", AT), "110114", ["110122"], "E", "0", ["", ""]),
    "logout": (
        UserAuthentication("ada", "10.0.0.9", AT, logout=True),
        "110114", ["110123"], "E", "0", ["", ""],
    ),
    "failed login": (
        UserAuthentication(
            "ada", "10.0.0.9", AT, outcome=Outcome.MINOR_FAILURE, reason="wrong password"
        ),
        "110114", ["110122"], "E", "4", ["", ""],
    ),
}  # fmt: skip


def xml(event: Event, source: Source | None = None) -> str:
    return to_xml(event.message(US), source or Source("GATEKEEPER"))


@pytest.mark.parametrize("name", EVENTS)
def test_each_event_is_a_valid_message_with_the_codes_of_the_standard(
    name: str, valid: Valid
) -> None:
    """Schema, EventID, EventTypeCode, action, outcome and roles are those of PS3.15 A.5."""
    event, event_id, types, action, outcome, roles = EVENTS[name]

    root = valid(xml(event))

    found = root.find("EventIdentification")
    assert found is not None
    assert found.attrib["EventActionCode"] == action
    assert found.attrib["EventOutcomeIndicator"] == outcome
    assert found.attrib["EventDateTime"] == "2026-05-28T20:26:40.250+00:00"
    coded = {one.tag: one.attrib for one in found}
    assert coded["EventID"]["csd-code"] == event_id
    assert coded["EventID"]["codeSystemName"] == "DCM"
    assert [one.attrib["csd-code"] for one in found.findall("EventTypeCode")] == types
    participants = root.findall("ActiveParticipant")
    assert [
        "".join(role.attrib["csd-code"] for role in one.findall("RoleIDCode"))
        for one in participants
    ] == roles
    # "There is one requestor at most" (PS3.15 table A.5.2-1).
    assert sum(one.attrib["UserIsRequestor"] == "true" for one in participants) <= 1


def test_a_study_is_named_with_its_sop_classes_and_no_patient_unless_known(valid: Valid) -> None:
    """Without a Patient ID there is no patient object; with one, there is the ID and no name."""
    made = Transfer(SCANNER, PACS, STUDY, {MR: 3}, AT).message(US)
    without = valid(to_xml(made, Source("GATEKEEPER")))
    whole = dataclasses.replace(made, objects=(*made.objects, patient("P-17")))
    known = valid(to_xml(whole, Source("GATEKEEPER")))

    (study,) = without.findall("ParticipantObjectIdentification")
    assert study.attrib["ParticipantObjectID"] == STUDY
    assert study.attrib["ParticipantObjectTypeCodeRole"] == "3"
    kind = study.find("ParticipantObjectIDTypeCode")
    assert kind is not None
    assert kind.attrib["csd-code"] == "110180"
    sop_class = study.find("ParticipantObjectDescription/SOPClass")
    assert sop_class is not None
    assert sop_class.attrib == {"UID": MR, "NumberOfInstances": "3"}
    _, person = known.findall("ParticipantObjectIdentification")
    assert person.attrib["ParticipantObjectID"] == "P-17"
    assert person.attrib["ParticipantObjectTypeCode"] == "1"
    assert person.attrib["ParticipantObjectTypeCodeRole"] == "1"
    assert person.findtext("ParticipantObjectName") == "P-17"


def test_participants_say_who_and_where(valid: Valid) -> None:
    """A node is its AE title, with an IP address or a machine name by its kind."""
    root = valid(xml(Transfer(SCANNER, PACS, STUDY, {MR: 3}, AT)))

    sender, receiver = (one.attrib for one in root.findall("ActiveParticipant"))
    assert sender["UserID"] == "CT1"
    assert sender["AlternativeUserID"] == "AETITLE=CT1"
    assert (sender["NetworkAccessPointID"], sender["NetworkAccessPointTypeCode"]) == (
        "10.1.2.3",
        "2",
    )
    assert (receiver["NetworkAccessPointID"], receiver["NetworkAccessPointTypeCode"]) == (
        "pacs.example",
        "1",
    )


def test_a_query_is_in_the_message_as_it_was_asked(valid: Valid) -> None:
    """ParticipantObjectQuery holds the query string in base64, in place of a name."""
    asked = "PatientName=M%C3%BCller*&StudyDate=20200101-"
    root = valid(xml(Query(SCANNER, "/dicom-web/studies", asked, 2, AT)))

    text = root.findtext("ParticipantObjectIdentification/ParticipantObjectQuery")
    assert text is not None
    assert base64.b64decode(text).decode() == asked


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "\"'&]]><!--",
        "a\x00b\x1b[31m\ud800\ufffe",
        "x" * 20_000,
        "",
        "\n",
    ],
    ids=["markup", "quotes", "not XML", "long", "empty", "newline"],
)
def test_what_a_peer_chose_breaks_no_message(hostile: str, valid: Valid) -> None:
    """AE titles, names, rules and queries that are markup or no XML at all are text there."""
    node = entity(hostile, hostile, requestor=True, role=RoleId.SOURCE)
    for event in (
        Transfer(node, PACS, hostile, {hostile: 1}, AT),
        NodeRefused(hostile, hostile, hostile, 1, AT),
        Query(node, hostile, hostile, 0, AT),
        UserAuthentication(hostile, hostile, AT, reason=hostile),
        ConfigurationChanged(1, hostile, hostile, True, True, True, AT),
    ):
        valid(xml(event, Source(hostile or "S", hostile)))
