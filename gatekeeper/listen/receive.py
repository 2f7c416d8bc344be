"""From C-STORE to durable to status, in this order and no other.

Enough free space, at the command; then what the data set is, from its beginning; then the bytes,
into the spool as they come. When all are here: the file and what its row says, both durable
(`storage.intake`), and only then success. The row itself, with study and association, may be
written some hundredths of a second later; before anything else is answered, it is there. What was
answered with success survives a power cut; what was not, the sender keeps. What is refused on the
way is read to its end, without keeping it, and answered then.

Memory does not grow with the object: at most `headers.MAXIMUM_BEGINNING` bytes are held, for the
few objects whose identifiers lie so far behind.

What each status means is the table in `gatekeeper.listen.answers`. It never depends on the
analysis. After a failed synchronisation (EIO) the kernel may report success for data it has
dropped, so the process must end and start afresh: `failed` says so and everything is answered
0xA700 until then.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVarTuple

from sqlalchemy.exc import SQLAlchemyError

from gatekeeper.errors import RefusedInstance
from gatekeeper.listen import backpressure
from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.listen.described import recorded_of
from gatekeeper.listen.fetched import is_prior
from gatekeeper.listen.file_meta import part10_header
from gatekeeper.listen.headers import (
    MAXIMUM_BEGINNING,
    Identity,
    agree,
    identify,
    identify_beginning,
)
from gatekeeper.listen.messages import Answer
from gatekeeper.listen.scan import CANNOT_UNDERSTAND
from gatekeeper.listen.telling import loggable, tell_entered, tell_kept
from gatekeeper.log import error_name, get_logger
from gatekeeper.metrics.tally import Tally
from gatekeeper.settings import Settings
from storage import failpoint
from storage.engine import Database, SynchronisationError
from storage.entries import Bearer
from storage.gathering import BacklogError
from storage.instances import Recorded
from storage.intake import Intake, Limits
from storage.recorder import Recorder
from storage.spool import Spool, SpoolWriter

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
"""Processing failure (PS3.7 C.5.7)."""
NOT_SUPPORTED = 0x0122
"""Refused: SOP class not supported (PS3.7 C.5.8)."""
OUT_OF_RESOURCES = 0xA700
"""Refused: out of resources (PS3.4 Table B.2-1)."""

_FIRST_LOOK = 16 * 1024
"""Bytes of a data set after which the identifiers are looked for first, then twice as many."""

Ts = TypeVarTuple("Ts")

log = get_logger()


@dataclass(frozen=True, slots=True)
class Arrival:
    """One C-STORE request, or one part of a STOW-RS request, with the identifiers that it names.

    Attributes:
        move_originator: AE title that asked for it by C-MOVE, empty when nobody did.
        study_instance_uid: the only study that is taken; empty for any.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    move_originator: str = ""
    study_instance_uid: str = ""

    def check(self, identity: Identity) -> None:
        """Check that a data set is what was announced; see `headers.agree`."""
        agree(identity, self.sop_class_uid, self.sop_instance_uid, self.study_instance_uid)


class Receiver:
    """Keeps instances; used by the threads of all associations at once."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        low_water_mib: int,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        resume_mib: int = 0,
        tally: Tally | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.failed = threading.Event()
        """Set when the process must end: a synchronisation failed."""
        self.tally = tally or Tally()
        """Counts what is answered."""
        self._database = database
        self._disk = backpressure.disk(database, spool, low_water_mib, resume_mib)
        self._intake = Intake(
            database, spool, limits, self._background_trouble, recorder, tell_entered
        )

    def begin(self, arrival: Arrival, association: OpenAssociation) -> Receiving:
        """Return what takes the data set of the instance; never raises."""
        return Receiving(self, arrival, association)

    def prepare(self) -> None:
        """Do ahead what would hold up the first instances; trouble is met again with them."""
        try:
            self._intake.prepare()
        except (SQLAlchemyError, OSError) as error:
            log.warning("intake_not_prepared", error=error_name(error))

    def close(self, deadline_seconds: float) -> None:
        """Settle what was received, in bounded time; afterwards nothing can be received."""
        self._intake.close(deadline_seconds)
        self._disk.close(deadline_seconds)

    def check_room(self) -> None:
        """Check that an instance may be taken now.

        Raises:
            RefusedInstance: with status 0xA700 after a failed synchronisation or when space is low.
            OSError: if the spool is in trouble.
        """
        self._check_sound()
        if self._disk.is_paused():
            raise RefusedInstance(OUT_OF_RESOURCES, "free space is under the low-water mark")

    def writer(self) -> SpoolWriter:
        """Return a writer of one new file of the spool.

        Raises:
            BacklogError: if too much waits to be settled.
        """
        return self._intake.writer()

    def is_prior(self, arrival: Arrival, identity: Identity, association: OpenAssociation) -> bool:
        """Return whether an instance is part of a prior study; see `fetched.is_prior`."""
        return is_prior(self._database, identity, arrival.move_originator, association)

    def keep(
        self,
        writer: SpoolWriter,
        arrival: Arrival,
        identity: Identity,
        association: OpenAssociation,
        *,
        prior: bool = False,
    ) -> Recorded | None:
        """Make the file, whose bytes are all in `writer`, and what its row says durable.

        Returns:
            What recording it found; None if its row is written later.

        Raises:
            RefusedInstance: with status 0xA700 after a failed synchronisation.
            OSError: if the spool is in trouble.
            SQLAlchemyError: if the database is in trouble.
        """
        self._check_sound()
        study = identity.study_instance_uid
        instance = recorded_of(
            identity,
            arrival.transfer_syntax_uid,
            writer.digest,
            writer.size,
            association.calling_ae,
            prior=prior,
        )
        # The link between association and study is made once.
        linked = association.study == study
        bearer = Bearer(association.id, association.calling_ae, association.address, linked)
        entered = self._intake.keep(writer, instance, None if prior else bearer)
        failpoint.reached("receive.committed", study)
        if entered is None:
            association.owed = True
            return None
        if not prior:
            # Only now are the rows certain.
            association.id = entered.association
            if not entered.own_result:
                association.study = study
        return entered.recorded

    def catch_up(self, association: OpenAssociation) -> None:
        """Have the rows written of all that an association brought, in bounded time.

        To be called before anything else than another instance is answered: who has released an
        association, or asks what became of an instance, finds it in the database.
        """
        if association.owed:
            association.owed = not self._intake.enter()

    def enter(self) -> None:
        """Have the rows written of all that was brought so far, in bounded time."""
        self._intake.enter()

    def spool_trouble(self, error: OSError) -> Answer:
        """Return what to answer after `error` of the spool, and take note of it."""
        # From a descriptor (write, fsync), not from a path: pages may be lost.
        if error.errno == errno.EIO and error.filename is None:
            self.failed.set()
            log.error("synchronisation_failed", error=error_name(error))
        name = errno.errorcode.get(error.errno or 0, error_name(error))
        return Answer(OUT_OF_RESOURCES, f"spool trouble: {name}")

    def database_trouble(self, error: SQLAlchemyError) -> Answer:
        """Return what to answer after `error` of the database, and take note of it."""
        if isinstance(error, SynchronisationError):
            self.failed.set()
            log.error("synchronisation_failed", error=error_name(error))
        return Answer(OUT_OF_RESOURCES, f"database trouble: {error_name(error)}")

    def _check_sound(self) -> None:
        if self.failed.is_set():
            raise RefusedInstance(OUT_OF_RESOURCES, "a synchronisation failed; restarting")

    def _background_trouble(self, error: Exception) -> None:
        """Settling failed; what was acknowledged is safe, and it is tried again or recovered."""
        if isinstance(error, OSError):
            self.spool_trouble(error)
        elif isinstance(error, SynchronisationError):
            self.database_trouble(error)
        log.warning("settling_failed", error=error_name(error))


def receiver_of(
    settings: Settings,
    database: Database,
    spool: Spool,
    tally: Tally | None = None,
    recorder: Recorder | None = None,
    *,
    rows_first: bool = False,
) -> Receiver:
    """Return a receiver with the limits of the settings, which counts in `tally`.

    Every row is written before its answer with `rows_first`, whatever `spool.enter_seconds` says.
    """
    limits = Limits(
        slots=settings.spool.slots,
        backlog=settings.spool.backlog,
        settle_seconds=settings.spool.settle_seconds,
        wait_seconds=settings.spool.wait_seconds,
        rows=settings.database.rows_at_once,
        enter_seconds=0.0 if rows_first else settings.spool.enter_seconds,
    )
    low, resume = settings.spool.low_water_mib, settings.spool.resume_mib
    return Receiver(database, spool, low, limits, resume, tally, recorder)


class Receiving:
    """One instance on its way in; see `messages.Incoming`."""

    def __init__(self, receiver: Receiver, arrival: Arrival, association: OpenAssociation) -> None:
        self._receiver = receiver
        self._arrival = arrival
        self._association = association
        self._started = time.monotonic()
        self._beginning = bytearray()
        self._look_again = _FIRST_LOOK
        self._identity: Identity | None = None
        self._prior = False
        self._writer: SpoolWriter | None = None
        self._refusal: Answer | None = None
        self._size = 0
        self._attempt(self._receiver.check_room)

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the data set; never raises."""
        self._size += len(data)
        if self._refusal is None:
            self._attempt(self._write, data)

    def finish(self) -> Answer:
        """Keep the instance and return what to answer; never raises."""
        if self._refusal is None:
            self._attempt(self._finish)
        answer = self._refusal or Answer(SUCCESS)
        self._close()
        elapsed = time.monotonic() - self._started
        self._receiver.tally.answered(answer.status, self._size, elapsed)
        if answer.status == SUCCESS:
            self._association.stored += 1
            failpoint.reached("receive.answering")
        else:
            self._association.refused += 1
            self._log_refusal(answer)
        return answer

    def abandon(self) -> None:
        """Remove what was written; never raises."""
        self._close()

    def _attempt(self, step: Callable[[*Ts], None], *arguments: *Ts) -> None:
        try:
            step(*arguments)
        except RefusedInstance as refusal:
            self._refuse(Answer(refusal.status, refusal.rule))
        except OSError as error:
            self._refuse(self._receiver.spool_trouble(error))
        except SQLAlchemyError as error:
            self._refuse(self._receiver.database_trouble(error))
        except BacklogError:
            self._refuse(Answer(OUT_OF_RESOURCES, "too many files wait to be settled"))
        except Exception as error:  # noqa: BLE001 - the peer gets a status, whatever happened
            self._refuse(Answer(PROCESSING_FAILURE, f"defect: {error_name(error)}"))

    def _refuse(self, answer: Answer) -> None:
        self._refusal = answer
        self._close()

    def _write(self, data: memoryview) -> None:
        if self._writer is not None:
            self._writer.write(data)
            return
        if not self._beginning and len(data) >= _FIRST_LOOK:
            # Nearly always all identifiers are in the first bytes of the first part.
            self._identity = self._identify(bytes(data[:_FIRST_LOOK]))
            if self._identity is not None:
                self._open_writer(data)
                return
        self._beginning += data
        if len(self._beginning) >= self._look_again:
            self._look_again = 2 * len(self._beginning)
            self._identity = self._identify(bytes(self._beginning[:MAXIMUM_BEGINNING]))
            if self._identity is not None:
                self._open_writer(self._beginning)
                self._beginning = bytearray()

    def _identify(self, beginning: bytes) -> Identity | None:
        syntax = self._arrival.transfer_syntax_uid
        identity = identify_beginning(beginning, syntax, self._association.layouts)
        if identity is not None:
            self._know(identity)
        return identity

    def _know(self, identity: Identity) -> None:
        self._arrival.check(identity)
        self._prior = self._receiver.is_prior(self._arrival, identity, self._association)

    def _open_writer(self, data: bytes | bytearray | memoryview) -> None:
        arrival = self._arrival
        self._writer = self._receiver.writer().open()
        header = part10_header(
            arrival.sop_class_uid, arrival.sop_instance_uid, arrival.transfer_syntax_uid
        )
        self._writer.write(header, data)

    def _finish(self) -> None:
        if self._size == 0:
            raise RefusedInstance(CANNOT_UNDERSTAND, "the message has no data set")
        if self._writer is None:
            arrival = self._arrival
            self._identity = identify(bytes(self._beginning), arrival.transfer_syntax_uid)
            self._know(self._identity)
            self._open_writer(self._beginning)
        if self._writer is None or self._identity is None:
            raise RuntimeError("an instance without writer or identity")
        recorded = self._receiver.keep(
            self._writer,
            self._arrival,
            self._identity,
            self._association,
            prior=self._prior,
        )
        tell_kept(self._size, self._identity, recorded, self._association)

    def _close(self) -> None:
        self._beginning = bytearray()
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.leave()
        except OSError as error:
            # What is left of the file is swept later.
            log.warning("residue_left", error=error_name(error))

    def _log_refusal(self, answer: Answer) -> None:
        log.warning(
            "instance_refused",
            status=f"{answer.status:04X}",
            rule=answer.rule,
            calling_ae=self._association.calling_ae,
            address=self._association.address,
            size=self._size,
            milliseconds=round(1000 * (time.monotonic() - self._started), 1),
            **loggable("sop_class", self._arrival.sop_class_uid),
            **loggable("sop_instance", self._arrival.sop_instance_uid),
        )
