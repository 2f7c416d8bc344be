"""The tables. Migrations bring a database here; `tests/storage` proves that the two agree.

Times are seconds since 1970-01-01 UTC by the database's clock, as 64-bit floats. UIDs are at most
64 characters (PS3.5 section 9.1), AE titles 16 (PS3.5 section 6.2), digests 64, tags of
languages (RFC 5646) 16.
"""

from __future__ import annotations

from storage.schema.base import metadata
from storage.schema.decided import (
    active_bundle,
    audit,
    configuration_version,
    decision_record,
    feedback,
    record_due,
    rule,
    site_policy,
)
from storage.schema.judged import (
    clinical_value,
    job,
    job_result,
    outcome,
    result,
    shadow,
    shadow_outcome,
    stage_pause,
)
from storage.schema.nodes import echo, node
from storage.schema.people import account, api_token, web_session
from storage.schema.received import (
    association,
    association_study,
    header_due,
    instance,
    intake_pause,
    removal,
    study,
    study_header,
    unsettled,
)
from storage.schema.sent import (
    channel,
    commitment,
    commitment_item,
    confirmation,
    confirmation_request,
    delivery,
    delivery_item,
    forward,
    notification,
    prior,
)
from storage.schema.watched import (
    audit_cursor,
    audit_drop,
    audit_message,
    audit_told,
    drift_device,
    drift_due,
    drift_observation,
    drift_stream,
)

__all__ = [
    "account",
    "active_bundle",
    "api_token",
    "association",
    "association_study",
    "audit",
    "audit_cursor",
    "audit_drop",
    "audit_message",
    "audit_told",
    "channel",
    "clinical_value",
    "commitment",
    "commitment_item",
    "configuration_version",
    "confirmation",
    "confirmation_request",
    "decision_record",
    "delivery",
    "delivery_item",
    "drift_device",
    "drift_due",
    "drift_observation",
    "drift_stream",
    "echo",
    "feedback",
    "forward",
    "header_due",
    "instance",
    "intake_pause",
    "job",
    "job_result",
    "metadata",
    "node",
    "notification",
    "outcome",
    "prior",
    "record_due",
    "removal",
    "result",
    "rule",
    "shadow",
    "shadow_outcome",
    "site_policy",
    "stage_pause",
    "study",
    "study_header",
    "unsettled",
    "web_session",
]
