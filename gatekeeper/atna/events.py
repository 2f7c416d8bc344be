"""Events as audit messages: which participants and objects PS3.15 A.5.3 wants of each; pure.

An event that someone else notices (a page, a command, a role) is a record here with `message`. The
patient of a study is added where a message enters the outbox (`outbox`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gatekeeper.atna.codes import Action, EventId, EventType, ObjectIdType, Outcome, RoleId
from gatekeeper.atna.message import Message, Participant, Participating, study

AUDIT_LOG = "Security Audit Log"
"""Name of an audit log as PS3.15 table A.5.3.2-1 has it."""

SECURITY_RESOURCE = 13
"""ParticipantObjectTypeCodeRole (PS3.15 A.5.1.2.2)."""


class Event(Protocol):
    """Something that is audited."""

    def message(self, us: Participant) -> Message:
        """Return it as a message.

        Args:
            us: this application, as a participant without a role.
        """
        ...


def entity(
    ae_title: str, address: str = "", *, requestor: bool, role: RoleId | None = None
) -> Participant:
    """Return a node, or ourselves, as a participant."""
    return Participant(ae_title, requestor, role, f"AETITLE={ae_title}", address=address)


@dataclass(frozen=True, slots=True)
class ApplicationActivity:
    """A role of ours starts or stops (A.5.3.1)."""

    role: str
    starts: bool
    at: float

    def message(self, us: Participant) -> Message:
        """Return it as a message."""
        process = Participant(
            str(os.getpid()),
            requestor=False,
            role=RoleId.APPLICATION,
            alternative_id=us.alternative_id,
            name=f"gatekeeper {self.role}",
            address=us.address,
        )
        kind = EventType.APPLICATION_START if self.starts else EventType.APPLICATION_STOP
        return Message(
            EventId.APPLICATION_ACTIVITY,
            Action.EXECUTE,
            self.at,
            (process,),
            types=(kind,),
            subject=self.role,
        )


@dataclass(frozen=True, slots=True)
class UserAuthentication:
    """A person logs in or out, or fails to (A.5.3.12).

    Attributes:
        user: the name that was given.
        address: of the person's machine.
        at: seconds since 1970.
        logout: whether it is an end.
        outcome: success, a minor failure for a wrong password, a serious one when refused for good.
        reason: why it failed, in our own words; empty for success.
    """

    user: str
    address: str
    at: float
    logout: bool = False
    outcome: Outcome = Outcome.SUCCESS
    reason: str = ""

    def message(self, us: Participant) -> Message:
        """Return it as a message."""
        person = Participant(self.user, requestor=True, address=self.address)
        return Message(
            EventId.USER_AUTHENTICATION,
            Action.EXECUTE,
            self.at,
            (person, us),
            types=(EventType.LOGOUT if self.logout else EventType.LOGIN,),
            outcome=self.outcome,
            description=self.reason,
            subject=self.user,
        )


@dataclass(frozen=True, slots=True)
class AuditLogUsed:
    """A person reads an audit log of ours (A.5.3.2).

    Attributes:
        user: who.
        address: of the person's machine; empty at ours.
        at: seconds since 1970.
        uri: which log, and of it what.
    """

    user: str
    address: str
    at: float
    uri: str = "gatekeeper:audit"

    def message(self, us: Participant) -> Message:
        """Return it as a message."""
        person = Participant(self.user, requestor=True, address=self.address)
        log = Participating(ObjectIdType.URI, self.uri, 2, SECURITY_RESOURCE, AUDIT_LOG)
        return Message(
            EventId.AUDIT_LOG_USED, Action.READ, self.at, (person, us), (log,), subject=self.user
        )


@dataclass(frozen=True, slots=True)
class InstancesAccessed:
    """A person looks at instances of a study, or changes what becomes of it (A.5.3.6).

    Attributes:
        user: who.
        address: of the person's machine.
        at: seconds since 1970.
        study: Study Instance UID.
        sop_classes: instances of each SOP Class UID that were looked at.
        action: read, or update for a decision about the study.
    """

    user: str
    address: str
    at: float
    study: str
    sop_classes: Mapping[str, int] = field(default_factory=dict[str, int])
    action: Action = Action.READ

    def message(self, us: Participant) -> Message:
        """Return it as a message."""
        person = Participant(self.user, requestor=True, address=self.address)
        return Message(
            EventId.INSTANCES_ACCESSED,
            self.action,
            self.at,
            (person, us),
            (study(self.study, self.sop_classes),),
            subject=self.study,
        )


@dataclass(frozen=True, slots=True)
class Transfer:
    """Instances of a study go from one application to another (A.5.3.3 and A.5.3.7).

    Attributes:
        source: who sends.
        destination: who receives.
        study: Study Instance UID.
        sop_classes: instances of each SOP Class UID.
        at: seconds since 1970.
        begins: whether this is the beginning, what is meant to be transferred.
        action: create when the receiver did not have them, read when it had or is not us.
        outcome: how it ended.
        reason: why it failed.
    """

    source: Participant
    destination: Participant
    study: str
    sop_classes: Mapping[str, int]
    at: float
    begins: bool = False
    action: Action = Action.READ
    outcome: Outcome = Outcome.SUCCESS
    reason: str = ""

    def message(self, us: Participant) -> Message:  # noqa: ARG002 - we are one of the two
        """Return it as a message."""
        return Message(
            EventId.BEGIN_TRANSFERRING if self.begins else EventId.INSTANCES_TRANSFERRED,
            Action.EXECUTE if self.begins else self.action,
            self.at,
            (self.source, self.destination),
            (study(self.study, self.sop_classes),),
            outcome=self.outcome,
            description=self.reason,
            subject=self.study,
        )


@dataclass(frozen=True, slots=True)
class Query:
    """A node asks what there is by QIDO-RS (A.5.3.10).

    Attributes:
        caller: who asks.
        path: of the resource that was asked for.
        query: as it was asked, which may name a patient.
        matches: how many were answered.
        at: seconds since 1970.
    """

    caller: Participant
    path: str
    query: str
    matches: int
    at: float

    def message(self, us: Participant) -> Message:
        """Return it as a message."""
        answering = Participant(
            us.user_id, False, RoleId.DESTINATION, us.alternative_id, us.name, us.address
        )
        asked = Participating(
            ObjectIdType.URI,
            self.path,
            2,
            3,
            query=self.query.encode("utf-8", "replace"),
            details={"Matches": str(self.matches)},
        )
        return Message(
            EventId.QUERY,
            Action.EXECUTE,
            self.at,
            (self.caller, answering),
            (asked,),
            subject=self.caller.user_id,
        )


@dataclass(frozen=True, slots=True)
class StudyDeleted:
    """Retention removes received files of a study (A.5.3.8).

    Attributes:
        study: Study Instance UID.
        sop_classes: instances of each SOP Class UID.
        reason: which limit asked for it.
        at: seconds since 1970.
    """

    study: str
    sop_classes: Mapping[str, int]
    reason: str
    at: float

    def message(self, us: Participant) -> Message:
        """Return it as a message."""
        process = Participant(
            us.user_id, True, None, us.alternative_id, f"retention by {self.reason}", us.address
        )
        return Message(
            EventId.STUDY_DELETED,
            Action.DELETE,
            self.at,
            (process,),
            (study(self.study, self.sop_classes),),
            subject=self.study,
        )
