"""The rows of the database as frozen records.

Times are seconds since 1970-01-01 UTC by the database's own clock. Digests are lower-case
hexadecimal SHA-256.
"""

from storage.records.audited import (
    AuditDrop,
    AuditMessage,
    AuditMessageState,
)
from storage.records.configured import (
    ActiveBundle,
    ConfigurationVersion,
    RuleRow,
    Shadow,
    ShadowState,
    ShadowTask,
)
from storage.records.judged import (
    ClinicalValue,
    Feedback,
    Job,
    JobState,
    Outcome,
    Result,
)
from storage.records.passed import (
    AuditEntry,
    Forward,
    ForwardState,
)
from storage.records.peers import (
    ApiToken,
    Confirm,
    Echo,
    Node,
    Retrieve,
    Role,
    Scope,
)
from storage.records.people import (
    Account,
    AccountRole,
    WebSession,
)
from storage.records.received import (
    Instance,
    Study,
    StudyHeader,
    StudyState,
)
from storage.records.sent import (
    HAS_ALL,
    Commitment,
    CommitmentItem,
    CommitmentState,
    Confirmation,
    ConfirmationState,
    Delivery,
    DeliveryItem,
    DeliveryState,
    Prior,
    PriorState,
)
from storage.records.told import (
    Channel,
    ChannelKind,
    Details,
    Notification,
    NotificationState,
)
from storage.records.watched import (
    DriftDevice,
    DriftDue,
    DriftObservation,
    DriftStream,
)

__all__ = [
    "HAS_ALL",
    "Account",
    "AccountRole",
    "ActiveBundle",
    "ApiToken",
    "AuditDrop",
    "AuditEntry",
    "AuditMessage",
    "AuditMessageState",
    "Channel",
    "ChannelKind",
    "ClinicalValue",
    "Commitment",
    "CommitmentItem",
    "CommitmentState",
    "ConfigurationVersion",
    "Confirm",
    "Confirmation",
    "ConfirmationState",
    "Delivery",
    "DeliveryItem",
    "DeliveryState",
    "Details",
    "DriftDevice",
    "DriftDue",
    "DriftObservation",
    "DriftStream",
    "Echo",
    "Feedback",
    "Forward",
    "ForwardState",
    "Instance",
    "Job",
    "JobState",
    "Node",
    "Notification",
    "NotificationState",
    "Outcome",
    "Prior",
    "PriorState",
    "Result",
    "Retrieve",
    "Role",
    "RuleRow",
    "Scope",
    "Shadow",
    "ShadowState",
    "ShadowTask",
    "Study",
    "StudyHeader",
    "StudyState",
    "WebSession",
]
