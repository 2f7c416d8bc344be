"""Codes of audit messages: context groups 400, 401, 402 and 404 of PS3.16, and RFC 3881's numbers.

The meanings are those of PS3.16 annex D.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value as audit messages have it (PS3.15 A.5.1: CodedValueType)."""

    value: str
    meaning: str
    scheme: str = "DCM"


class EventId(enum.Enum):
    """Which message it is (CID 400)."""

    APPLICATION_ACTIVITY = Code("110100", "Application Activity")
    AUDIT_LOG_USED = Code("110101", "Audit Log Used")
    BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
    INSTANCES_ACCESSED = Code("110103", "DICOM Instances Accessed")
    INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
    STUDY_DELETED = Code("110105", "DICOM Study Deleted")
    QUERY = Code("110112", "Query")
    SECURITY_ALERT = Code("110113", "Security Alert")
    USER_AUTHENTICATION = Code("110114", "User Authentication")

    @property
    def slug(self) -> str:
        """Its name in the outbox and on the command line."""
        return self.name.lower().replace("_", "-")


class EventType(enum.Enum):
    """What kind of that event (CID 401)."""

    APPLICATION_START = Code("110120", "Application Start")
    APPLICATION_STOP = Code("110121", "Application Stop")
    LOGIN = Code("110122", "Login")
    LOGOUT = Code("110123", "Logout")
    NODE_AUTHENTICATION = Code("110126", "Node Authentication")
    NETWORK_CONFIGURATION = Code("110128", "Network Configuration")
    SECURITY_CONFIGURATION = Code("110129", "Security Configuration")
    SOFTWARE_CONFIGURATION = Code("110131", "Software Configuration")
    RECORDING_STOPPED = Code("110133", "Audit Recording Stopped")
    RECORDING_STARTED = Code("110134", "Audit Recording Started")
    SECURITY_ROLES_CHANGED = Code("110136", "Security Roles Changed")
    USER_ATTRIBUTES_CHANGED = Code("110137", "User security Attributes Changed")


class RoleId(enum.Enum):
    """What a participant does in the event (CID 402)."""

    APPLICATION = Code("110150", "Application")
    APPLICATION_LAUNCHER = Code("110151", "Application Launcher")
    DESTINATION = Code("110152", "Destination Role ID")
    SOURCE = Code("110153", "Source Role ID")


class ObjectIdType(enum.Enum):
    """What kind of identifier an object has (CID 404 and PS3.15 A.5.1.2.4)."""

    STUDY = Code("110180", "Study Instance UID")
    SOP_CLASS = Code("110181", "SOP Class UID")
    NODE = Code("110182", "Node ID")
    PATIENT = Code("2", "Patient Number", "RFC-3881")
    URI = Code("12", "URI", "RFC-3881")


class Action(enum.StrEnum):
    """What was done (PS3.15 A.5.1: EventActionCode)."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class Outcome(enum.IntEnum):
    """How it ended (PS3.15 A.5.1: EventOutcomeIndicator)."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12
