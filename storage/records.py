"""The rows of the database as frozen records.

Times are seconds since 1970-01-01 UTC by the database's own clock. Digests are lower-case
hexadecimal SHA-256.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class StudyState(enum.StrEnum):
    """Whether a study is still being received."""

    RECEIVING = "receiving"
    COMPLETE = "complete"


class JobState(enum.StrEnum):
    """A job's life: queued -> claimed -> done | dead; a failed claim goes back to queued."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    DONE = "done"
    DEAD = "dead"


class DeliveryState(enum.StrEnum):
    """A delivery's life: queued -> claimed -> delivered | dead; a failed one: queued again.

    To a node that confirms, delivered -> committed once the node has said so.
    """

    QUEUED = "queued"
    CLAIMED = "claimed"
    DELIVERED = "delivered"
    COMMITTED = "committed"
    DEAD = "dead"


HAS_ALL = (DeliveryState.DELIVERED, DeliveryState.COMMITTED)
"""States of a delivery whose node has answered every object as stored."""


class Confirm(enum.StrEnum):
    """How a node is asked whether it keeps what it answered as stored."""

    NONE = "none"
    COMMITMENT = "commitment"
    """Storage commitment (PS3.4 annex J)."""
    FIND = "find"
    """C-FIND at IMAGE level (PS3.4 annex C)."""


class Role(enum.StrEnum):
    """What a node is in the life of a study."""

    SCANNER = "scanner"
    """It sends studies."""
    ARCHIVE = "archive"
    """It keeps studies and answers queries. What it is sent never waits for a verdict."""
    DOWNSTREAM = "downstream"
    """It works on studies, as a downstream AI does. What it is sent passes the gate first."""
    WORKSTATION = "workstation"
    """A person looks at studies there."""


class Retrieve(enum.StrEnum):
    """How priors are fetched from a node (PS3.4 annex C)."""

    GET = "get"
    """C-GET: they come on the association that asks for them."""
    MOVE = "move"
    """C-MOVE: the node sends them to our listener."""


class ForwardState(enum.StrEnum):
    """A forward's life: waiting -> sent | held | superseded; held -> sent | rejected | superseded.

    `sent` means that its delivery exists: what becomes of that is the delivery's state.
    """

    WAITING = "waiting"
    """For the verdict."""
    HELD = "held"
    """For a person, or the end of the maximum hold time."""
    SENT = "sent"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    """Newer content of the study has a forward of its own."""


class ConfirmationState(enum.StrEnum):
    """A confirmation's life: queued -> claimed -> committed | dead, by way of resending.

    A failed claim goes back to queued; what is resent is queued again once it is stored.
    """

    QUEUED = "queued"
    CLAIMED = "claimed"
    RESENDING = "resending"
    COMMITTED = "committed"
    DEAD = "dead"


class CommitmentState(enum.StrEnum):
    """A commitment's life as the node's request to us: queued -> claimed -> reported | dead."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    REPORTED = "reported"
    DEAD = "dead"


class ChannelKind(enum.StrEnum):
    """How the messages of a channel travel."""

    EMAIL = "email"
    WEBHOOK = "webhook"


class Details(enum.StrEnum):
    """What the messages of a channel say of which study they are about."""

    NONE = "none"
    """Our own numbers alone; who has access here looks them up."""
    UIDS = "uids"
    """Its Study Instance UID too."""


class NotificationState(enum.StrEnum):
    """A notification's life: queued -> claimed -> sent | dead, or queued -> gathered.

    A failed claim goes back to queued; what is gathered is sent by the digest that names it.
    """

    QUEUED = "queued"
    CLAIMED = "claimed"
    GATHERED = "gathered"
    SENT = "sent"
    DEAD = "dead"


class PriorState(enum.StrEnum):
    """A request's life: queued -> claimed -> found | none | dead; of a prior: received | dead.

    A failed claim goes back to queued.
    """

    QUEUED = "queued"
    CLAIMED = "claimed"
    FOUND = "found"
    """The request is answered: each prior has a row of its own."""
    RECEIVED = "received"
    """The prior study is here, whole."""
    NONE = "none"
    """There is no such prior."""
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Node:
    """A DICOM peer: who it is, where it is reached, what it may do."""

    ae_title: str
    host: str
    port: int
    may_send: bool = False
    receives_results: bool = False
    networks: tuple[str, ...] = ()
    """CIDR blocks it may call from; empty means the addresses that `host` resolves to."""
    quiet_seconds: float | None = None
    """Quiet time of studies from this node; None means the setting ``listen.quiet_seconds``."""
    enabled: bool = True
    description: str = ""
    objects: tuple[str, ...] = ()
    """Kinds of result it takes; empty means the usual ones."""
    language: str = "en"
    """Language of the results it takes, an RFC 5646 tag."""
    tls: bool = False
    """Whether it calls and is called by TLS alone."""
    certificate: str = ""
    """SHA-256 of its certificate in DER, lower-case hexadecimal; empty means any certificate of a
    CA of ours that names `host`."""
    confirm: Confirm = Confirm.NONE
    """How it is asked to confirm what it has stored."""
    roles: tuple[Role, ...] = ()
    receives_studies: bool = False
    """Whether every study is forwarded to it; without, only what a rule forwards."""
    sop_classes: tuple[str, ...] = ()
    """SOP classes it may send and is sent studies of, as `gatekeeper.sop_classes` names them;
    empty for all."""
    retrieve: Retrieve = Retrieve.GET
    """How priors are fetched from it."""
    url: str = ""
    """Root of its DICOMweb service (PS3.18); what it is sent goes there by STOW-RS, and `host` and
    `port` are the URL's. Empty for a node that is called by DIMSE."""

    @property
    def gated(self) -> bool:
        """Whether a study is forwarded to it only after a verdict or a release."""
        return Role.DOWNSTREAM in self.roles

    @property
    def brings_priors(self) -> bool:
        """Whether it calls us with the priors that we asked it for."""
        return self.retrieve is Retrieve.MOVE

    @property
    def needs_tls(self) -> bool:
        """Whether plain text is refused; a certificate can be shown by TLS alone."""
        return self.tls or bool(self.certificate)


@dataclass(frozen=True, slots=True)
class Instance:
    """One received SOP Instance, its bytes in the spool under `digest`."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    digest: str
    size: int
    source_ae: str
    own_result: bool = False
    """True when it is one of our own results come back: kept, never analysed."""
    prior: bool = False
    """True when it was fetched as part of a prior study and never sent to us as one to analyse."""
    conflict: bool = False
    """True when the same SOP Instance UID is kept with other content too."""
    received_at: float = 0.0
    removed_at: float | None = None
    """When retention removed its file; None while the file is kept."""


@dataclass(frozen=True, slots=True)
class Study:
    """One study as far as received."""

    study_instance_uid: str
    source_ae: str
    state: StudyState
    revision: int
    """0 until complete for the first time; each completion with new content adds one."""
    content_digest: str
    """Digest of the content at the latest completion, empty before."""
    instances: int
    series: int
    first_received_at: float
    last_received_at: float
    completed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One analysis of one content of a study by one set of models."""

    id: int
    study_instance_uid: str
    content_digest: str
    model_digest: str
    revision: int
    state: JobState
    attempt: int
    """Number of the latest claim; settling a job takes the number that its claim gave."""
    created_at: float
    not_before: float
    lease_until: float | None = None
    worker: str = ""
    claimed_at: float | None = None
    finished_at: float | None = None
    reason: str = ""
    """Why the latest attempt failed, or why the job is dead."""
    attempts_before: int = 0
    """Attempts made before the latest retry by hand; the rest count against the maximum."""
    priority: int = 0
    """Higher is claimed first; 0 is routine."""
    instructions: dict[str, Any] = field(default_factory=dict[str, Any])
    """JSON: what the rules say of the analysis; see `gatekeeper.rules.plan`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job found, one row a job."""

    job_id: int
    verdict: str
    reason: str
    score: float | None
    p_value: float | None
    evidence: dict[str, Any] = field(default_factory=dict[str, Any])
    """JSON: per-series findings, profile, calibration, regions, what the verdict rests on."""
    stages: dict[str, float] = field(default_factory=dict[str, float])
    """Milliseconds of each stage of the work."""
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """One result object of a job, its bytes in the spool under `digest`."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    kind: str
    """``heatmap`` or ``report``."""
    digest: str
    size: int
    language: str = "en"
    """Language of its texts, an RFC 5646 tag."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One set of objects on its way to one node."""

    id: int
    job_id: int | None
    """The job whose results these are; None for objects sent by hand."""
    node: str
    state: DeliveryState
    attempt: int
    created_at: float
    not_before: float
    lease_until: float | None = None
    delivered_at: float | None = None
    reason: str = ""
    items: int = 0
    items_stored: int = 0
    items_left_out: int = 0
    """Objects that are not sent, since the node does not take their SOP class."""
    attempts_before: int = 0
    """Attempts made before the latest retry by hand; the rest count against the maximum."""
    confirmation: ConfirmationState | None = None
    """Where the node's confirmation is; None for a node that is not asked for one."""


@dataclass(frozen=True, slots=True)
class DeliveryItem:
    """One object of a delivery and the peer's latest answer about it."""

    delivery_id: int
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    digest: str
    status: int | None = None
    """The C-STORE status last received (PS3.4 B.2.3); None before any answer."""
    stored: bool = False
    """True once the peer answered success or a warning."""
    left_out: bool = False
    """True when it is not sent: the node does not take its SOP class."""


@dataclass(frozen=True, slots=True)
class Forward:
    """One content of a study on its way to one node, as received and byte for byte."""

    id: int
    study_instance_uid: str
    content_digest: str
    revision: int
    node: str
    gated: bool
    state: ForwardState
    created_at: float
    verdict: str = ""
    """Verdict that it was decided by, empty before."""
    reason: str = ""
    """Why it is in this state, in one sentence."""
    held_at: float | None = None
    hold_until: float | None = None
    """When the maximum hold time ends; None when it is not held."""
    decided_at: float | None = None
    decided_by: str = ""
    """Who released or rejected it: a person's name, ``rule NAME``, ``policy`` or ``hold limit``."""
    delivery_id: int | None = None
    """The delivery that brings it; None before it is sent, or when nothing was left to send."""
    warned_at: float | None = None
    """When people were told that the end of the hold is near; None before."""


@dataclass(frozen=True, slots=True)
class Commitment:
    """A node's request that we commit to what it sent (PS3.4 annex J), and our report on it."""

    id: int
    node: str
    transaction_uid: str
    state: CommitmentState
    attempt: int
    created_at: float
    attempts_before: int = 0
    decided_at: float | None = None
    """When it was decided what we commit to; None before."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CommitmentItem:
    """One instance that a commitment is about."""

    sop_class_uid: str
    sop_instance_uid: str
    failure: int | None = None
    """Failure Reason (0008,1197); None when committed, or not decided yet."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Our question to a node whether it keeps what a delivery brought it."""

    id: int
    """The number of its delivery."""
    node: str
    state: ConfirmationState
    attempt: int
    created_at: float
    resends: int = 0
    """How often instances that the node does not keep were queued again."""
    attempts_before: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Prior:
    """A request to an archive for priors of a study, or one prior study that it found."""

    id: int
    study_instance_uid: str
    """The study whose priors they are."""
    node: str
    rule: str
    """Name of the rule that asks for them."""
    count: int
    """Studies at most."""
    modality: str
    """Of the priors; empty for that of the study."""
    prior_study_uid: str
    """Empty for the request."""
    state: PriorState
    attempt: int
    created_at: float
    attempts_before: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Echo:
    """What a node answered to the latest C-ECHO."""

    node: str
    at: float
    answered: bool
    detail: str


@dataclass(frozen=True, slots=True)
class ConfigurationVersion:
    """What the whole dynamic configuration was from a change on, and who made it."""

    number: int
    """From 1, each one more than the one before it."""
    at: float
    who: str
    why: str
    document: dict[str, Any]
    digest: str
    """SHA-256 of the document in its canonical form."""
    restored_from: int | None = None
    """Number of the version that this one returned to, in whole or in one section."""


@dataclass(frozen=True, slots=True)
class ActiveBundle:
    """Which bundle answers for a profile."""

    profile: str
    """As ``MR/BRAIN/T1``."""
    bundle: str
    """Its name; empty where no bundle is to answer."""
    digest: str = ""
    """Of the bundle when it was chosen."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Where people, or a program of theirs, are told what happens here."""

    name: str
    kind: ChannelKind
    address: str
    """E-mail address, or URL of the webhook."""
    events: tuple[str, ...] = ()
    """Events that it is told; empty means all."""
    details: Details = Details.NONE
    enabled: bool = True
    """Disabled is a pause: what waits stays, what happens meanwhile is not told."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One event that one channel is told."""

    id: int
    channel: str
    event: str
    subject: str
    """What it is about: a Study Instance UID, a node, or a number of ours."""
    delivery_id: str
    """A UUID: the same for every attempt, so that a receiver knows what it has."""
    facts: dict[str, Any]
    state: NotificationState
    attempt: int
    created_at: float
    not_before: float
    attempts_before: int = 0
    """Attempts made before the latest retry by hand; the rest count against the maximum."""
    digest_id: int | None = None
    """The notification that it was gathered in."""
    finished_at: float | None = None
    reason: str = ""
    """Why the latest attempt failed, or why it is dead."""


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule as stored."""

    name: str
    position: int
    """Rules are asked in this order."""
    enabled: bool
    document: dict[str, Any]
    """JSON: condition and actions; see `gatekeeper.rules.document`."""
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit trail, chained to the one before."""

    id: int
    at: float
    actor: str
    """A person's name, ``rule NAME``, ``policy`` or ``hold limit``."""
    action: str
    study: str
    job: int | None
    detail: dict[str, Any]
    previous: str
    """Digest of the line before, 64 zeros for the first."""
    digest: str
    """SHA-256 of the canonical form of all of this but `id`."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """A reviewer's word on the verdict of a job."""

    id: int
    at: float
    job_id: int
    reviewer: str
    verdict: str
    agrees: bool
    remark: str


class Scope(enum.StrEnum):
    """What the holder of a token may do."""

    STOW = "stow"
    """Send studies."""
    READ = "read"
    """Query and retrieve what is served."""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A bearer token of DICOMweb, known by the SHA-256 of its text."""

    name: str
    digest: str
    scopes: tuple[Scope, ...]
    node: str = ""
    """AE title of the node that what it sends comes from; empty for one that only reads."""
    created_at: float = 0.0
    expires_at: float | None = None
    disabled: bool = False
    expired: bool = False
    """Whether `expires_at` is over, by the database's clock."""


class ShadowState(enum.StrEnum):
    """What became of terms in shadow."""

    RUNNING = "running"
    ENDED = "ended"
    ACTIVATED = "activated"


@dataclass(frozen=True, slots=True)
class Shadow:
    """Terms that decide beside those in force, and do nothing."""

    name: str
    candidate: dict[str, Any]
    """JSON; see `gatekeeper.backtest.candidate`."""
    analyses: bool
    """Whether its models analyse each study anew, which takes a worker."""
    state: ShadowState
    started_by: str
    why: str
    started_at: float
    """Studies judged from then on are decided."""
    first_job: int
    """The oldest job that was not at its end then."""
    ended_by: str = ""
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class ShadowTask:
    """One study that a worker is to analyse in shadow, as claimed."""

    id: int
    attempt: int
    shadow: str
    job_id: int
