"""Security Alerts (PS3.15 A.5.3.11): refused nodes, changes, and messages that were lost; pure."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.atna.codes import Action, EventId, EventType, ObjectIdType, Outcome
from gatekeeper.atna.events import AUDIT_LOG, SECURITY_RESOURCE
from gatekeeper.atna.message import Message, Participant, Participating

_MASTER_FILE = 5


@dataclass(frozen=True, slots=True)
class NodeRefused:
    """A node, or who says it is one, is not let in (A.5.3.11, Node Authentication).

    Attributes:
        node: AE title that it gave, or name of its token; empty when it gave none.
        address: of its machine.
        rule: that it broke.
        count: how often, since the last message.
        at: seconds since 1970.
    """

    node: str
    address: str
    rule: str
    count: int
    at: float

    def message(self, us: Participant) -> Message:
        """Return it as a message."""
        return alert(
            EventType.NODE_AUTHENTICATION,
            at=self.at,
            us=us,
            performing=Participant(self.node or self.address, False, address=self.address),
            subject=Participating(
                ObjectIdType.NODE,
                self.node or self.address,
                2,
                SECURITY_RESOURCE,
                details={"Alert Description": self.rule, "Occurrences": str(self.count)},
            ),
            outcome=Outcome.SERIOUS_FAILURE,
            reason=self.rule,
        )


@dataclass(frozen=True, slots=True)
class ConfigurationChanged:
    """The configuration has a new version (A.5.3.11).

    Attributes:
        number: of the version.
        who: account that changed it.
        why: in a sentence.
        network: whether nodes or channels changed.
        software: whether anything else did.
        known: False when it was changed past Gatekeeper.
        at: seconds since 1970.
    """

    number: int
    who: str
    why: str
    network: bool
    software: bool
    known: bool
    at: float

    def message(self, us: Participant) -> Message:
        """Return it as a message."""
        kinds = [EventType.NETWORK_CONFIGURATION] if self.network else []
        if self.software or not kinds:
            kinds.append(EventType.SOFTWARE_CONFIGURATION)
        return alert(
            *kinds,
            at=self.at,
            us=us,
            performing=Participant(self.who, requestor=False),
            subject=Participating(
                ObjectIdType.URI,
                f"gatekeeper:configuration/{self.number}",
                2,
                _MASTER_FILE,
                f"configuration version {self.number}",
                details={"Alert Description": self.why or "no reason given"},
            ),
            outcome=Outcome.SUCCESS if self.known else Outcome.MINOR_FAILURE,
            reason="" if self.known else "changed past Gatekeeper",
        )


@dataclass(frozen=True, slots=True)
class AccessChanged:
    """Somebody may do more or less than before (A.5.3.11): an account, or a token.

    Attributes:
        who: changed it.
        address: of that person's machine; empty at ours.
        whose: the account or token.
        what: in our own words: ``may read``, ``revoked``.
        roles: whether it is about what it may do; else about how it shows who it is.
        at: seconds since 1970.
    """

    who: str
    address: str
    whose: str
    what: str
    roles: bool
    at: float

    def message(self, us: Participant) -> Message:
        """Return it as a message."""
        roles, attributes = EventType.SECURITY_ROLES_CHANGED, EventType.USER_ATTRIBUTES_CHANGED
        return alert(
            roles if self.roles else attributes,
            at=self.at,
            us=us,
            performing=Participant(self.who, requestor=False, address=self.address),
            subject=Participating(
                ObjectIdType.URI,
                f"gatekeeper:access/{self.whose}",
                2,
                SECURITY_RESOURCE,
                self.whose,
                details={"Alert Description": self.what},
            ),
            outcome=Outcome.SUCCESS,
            reason="",
        )


@dataclass(frozen=True, slots=True)
class MessagesLost:
    """Audit messages found the outbox full and were not kept (A.5.3.11).

    Attributes:
        count: how many in all so far.
        at: seconds since 1970.
    """

    count: int
    at: float

    def message(self, us: Participant) -> Message:
        """Return it as a message."""
        text = f"the outbox was full: {self.count} audit messages were not kept so far"
        return alert(
            EventType.RECORDING_STOPPED,
            at=self.at,
            us=us,
            performing=None,
            subject=Participating(
                ObjectIdType.URI,
                "gatekeeper:audit/messages",
                2,
                SECURITY_RESOURCE,
                AUDIT_LOG,
                details={"Alert Description": text},
            ),
            outcome=Outcome.SERIOUS_FAILURE,
            reason=text,
        )


def alert(
    *kinds: EventType,
    at: float,
    us: Participant,
    performing: Participant | None,
    subject: Participating,
    outcome: Outcome,
    reason: str,
) -> Message:
    """Return a Security Alert that we report (PS3.15 A.5.3.11).

    Args:
        kinds: of the alert.
        at: seconds since 1970.
        us: who reports.
        performing: who did it, where known.
        subject: what it is about.
        outcome: success for information; else how severe it is.
        reason: in a sentence; empty for information.
    """
    reporting = Participant(us.user_id, True, None, us.alternative_id, us.name, us.address)
    return Message(
        EventId.SECURITY_ALERT,
        Action.EXECUTE,
        at,
        (reporting,) if performing is None else (reporting, performing),
        (subject,),
        kinds,
        outcome,
        reason,
        subject.id,
    )
