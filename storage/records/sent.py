"""What is sent: deliveries, whether the node keeps them, and what was asked of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


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
