"""From C-STORE to durable to status, in this order and no other.

Enough free space, then what the data set is, then the file and one transaction with the instance,
its study and its association, both durable (`storage.intake`), and only then success. What was
answered with success survives a power cut; what was not, the sender keeps.

============================================  ======  =======================================
what happened                                 status  what the sender does
============================================  ======  =======================================
kept, or kept before with the same content    0x0000  may forget it
disk low or full, spool or database in        0xA700  tries again later
trouble
data set and command disagree                 0xA900  looks into it
data set cannot be understood                 0xC000  looks into it
association not accepted here                 0x0124  looks into it
a defect of ours                              0x0110  tries again or looks into it
============================================  ======  =======================================

The status never depends on the analysis. After a failed synchronisation (EIO) the kernel may
report success for data it has dropped, so the process must end and start afresh: `failed` says so
and everything is answered 0xA700 until then.
"""

from __future__ import annotations

import errno
import threading
import time
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from gatekeeper.errors import IdentifierError, RefusedInstance
from gatekeeper.identifiers import Uid
from gatekeeper.listen import backpressure
from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.listen.file_meta import part10_header
from gatekeeper.listen.headers import Identity, agree, identify
from gatekeeper.log import error_name, get_logger
from storage import failpoint, instances, outcomes
from storage.engine import Database, SynchronisationError
from storage.instances import Recorded
from storage.intake import Intake, Limits
from storage.records import Instance
from storage.settler import BacklogError
from storage.spool import Digest, Spool, SpoolWriter

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
"""Processing failure (PS3.7 C.5.7)."""
NOT_AUTHORISED = 0x0124
"""Refused: not authorised (PS3.7 C.5.6)."""
OUT_OF_RESOURCES = 0xA700
"""Refused: out of resources (PS3.4 Table B.2-1)."""

log = get_logger()


@dataclass(frozen=True, slots=True)
class Arrival:
    """One C-STORE request.

    Attributes:
        data: the encoded data set as received.
        sop_class_uid: Affected SOP Class UID of the command.
        sop_instance_uid: Affected SOP Instance UID of the command.
        transfer_syntax_uid: as negotiated for the presentation context.
    """

    data: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The status to answer, and for a refusal the rule that was broken."""

    status: int
    rule: str = ""


class Receiver:
    """Keeps instances; used by the threads of all associations at once."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        low_water_mib: int,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        resume_mib: int = 0,
    ) -> None:
        self.failed = threading.Event()
        """Set when the process must end: a synchronisation failed."""
        self._spool = spool
        self._disk = backpressure.disk(database, spool, low_water_mib, resume_mib)
        self._intake = Intake(database, spool, limits, self._background_trouble)

    def receive(self, arrival: Arrival, association: OpenAssociation) -> Answer:
        """Keep the instance and return what to answer; never raises."""
        started = time.monotonic()
        try:
            answer = self._keep(arrival, association)
        except RefusedInstance as refusal:
            answer = Answer(refusal.status, refusal.rule)
        except OSError as error:
            answer = self._spool_trouble(error)
        except SQLAlchemyError as error:
            answer = self._database_trouble(error)
        except BacklogError:
            answer = Answer(OUT_OF_RESOURCES, "too many files wait to be settled")
        except Exception as error:  # noqa: BLE001 - pynetdicom would answer 0xC211 and log values
            answer = Answer(PROCESSING_FAILURE, f"defect: {error_name(error)}")
        if answer.status == SUCCESS:
            association.stored += 1
            failpoint.reached("receive.answering")
        else:
            association.refused += 1
            log.warning(
                "instance_refused",
                status=f"{answer.status:04X}",
                rule=answer.rule,
                calling_ae=association.calling_ae,
                address=association.address,
                sop_class=arrival.sop_class_uid,
                size=len(arrival.data),
                milliseconds=round(1000 * (time.monotonic() - started), 1),
                **_loggable(arrival.sop_instance_uid),
            )
        return answer

    def close(self, deadline_seconds: float) -> None:
        """Settle what was received, in bounded time; afterwards nothing can be received."""
        self._intake.close(deadline_seconds)

    def _keep(self, arrival: Arrival, association: OpenAssociation) -> Answer:
        if self.failed.is_set():
            raise RefusedInstance(OUT_OF_RESOURCES, "a synchronisation failed; restarting")
        if self._disk.is_paused():
            raise RefusedInstance(OUT_OF_RESOURCES, "free space is under the low-water mark")
        identity = identify(arrival.data, arrival.transfer_syntax_uid)
        agree(identity, arrival.sop_class_uid, arrival.sop_instance_uid)
        recorded = self._store(arrival, identity, association)
        _report(arrival, identity, recorded, association)
        return Answer(SUCCESS)

    def _store(
        self, arrival: Arrival, identity: Identity, association: OpenAssociation
    ) -> Recorded:
        header = part10_header(
            arrival.sop_class_uid, arrival.sop_instance_uid, arrival.transfer_syntax_uid
        )
        with self._intake.writer() as writer:
            writer.write(header)
            writer.write(arrival.data)
            return self._record(arrival, identity, writer, association)

    def _record(
        self,
        arrival: Arrival,
        identity: Identity,
        writer: SpoolWriter,
        association: OpenAssociation,
    ) -> Recorded:
        row, own_result = association.id, False

        def describe(tx: Connection, digest: Digest, size: int) -> tuple[Instance, int | None]:
            nonlocal row, own_result
            row = association.id
            if row is None:
                row = instances.open_association(tx, association.calling_ae, association.address)
            own_result = identity.own_marks or _is_own(tx, identity.sop_instance_uid)
            instance = Instance(
                sop_instance_uid=identity.sop_instance_uid,
                sop_class_uid=identity.sop_class_uid,
                transfer_syntax_uid=arrival.transfer_syntax_uid,
                study_instance_uid=identity.study_instance_uid,
                series_instance_uid=identity.series_instance_uid,
                modality=identity.modality,
                digest=digest,
                size=size,
                source_ae=association.calling_ae,
                own_result=own_result,
            )
            # The link between association and study is made once.
            linked = association.study == identity.study_instance_uid
            return instance, None if linked else row

        study, instance = identity.study_instance_uid, identity.sop_instance_uid
        recorded = self._intake.keep(writer, study, instance, describe)
        failpoint.reached("receive.committed", study)
        # Only now are the rows certain.
        association.id = row
        if not own_result:
            association.study = study
        return recorded

    def _background_trouble(self, error: Exception) -> None:
        """Settling failed; what was acknowledged is safe, and it is tried again or recovered."""
        if isinstance(error, OSError):
            self._spool_trouble(error)
        elif isinstance(error, SynchronisationError):
            self._database_trouble(error)
        log.warning("settling_failed", error=error_name(error))

    def _database_trouble(self, error: SQLAlchemyError) -> Answer:
        if isinstance(error, SynchronisationError):
            self.failed.set()
            log.error("synchronisation_failed", error=error_name(error))
        return Answer(OUT_OF_RESOURCES, f"database trouble: {error_name(error)}")

    def _spool_trouble(self, error: OSError) -> Answer:
        # From a descriptor (write, fsync), not from a path: pages may be lost.
        if error.errno == errno.EIO and error.filename is None:
            self.failed.set()
            log.error("synchronisation_failed", error=error_name(error))
        name = errno.errorcode.get(error.errno or 0, error_name(error))
        return Answer(OUT_OF_RESOURCES, f"spool trouble: {name}")


def _is_own(tx: Connection, sop_instance_uid: str) -> bool:
    """Return whether we made an object of this UID; all of ours are derived from UUIDs."""
    return sop_instance_uid.startswith("2.25.") and outcomes.is_own_result(tx, sop_instance_uid)


def _loggable(uid: str) -> dict[str, str]:
    """Return the log field of a UID, unless it is something else that a peer put there."""
    try:
        return {"sop_instance": Uid.parse(uid)}
    except IdentifierError:
        return {}


def _report(
    arrival: Arrival, identity: Identity, recorded: Recorded, association: OpenAssociation
) -> None:
    fields = {"calling_ae": association.calling_ae, **_loggable(identity.sop_instance_uid)}
    if recorded.conflict:
        log.warning("instance_conflict", **fields)
    for deviation in identity.deviations:
        log.warning("instance_deviates", rule=deviation, **fields)
    log.debug("instance_kept", size=len(arrival.data), **fields)
