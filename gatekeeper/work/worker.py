"""The worker: claims a job, has the child analyse it, settles it once under the attempt's fence.

What becomes of a job:

- An answer, UNREADABLE included, is an outcome: the same files give the same answer, so a second
  attempt would change nothing.
- A child that crashes, is stopped at a limit or gives no valid answer is a failed attempt. It is
  tried again with a growing delay in a fresh child, because another machine's fault looks the
  same, and set aside as dead with its reason after `work.maximum_attempts`.
- A full disk is not the study's fault: the job waits, tried after a growing delay for as long as
  it takes, and the attempts do not count. `gatekeeper status` and the ledger name such jobs.
- A study whose content changed since the job was made is not analysed under this job: the digest
  in its results would be a lie. The job is dead as superseded; the late instance reopened the
  study, and its next completion makes the next revision's job.
- When the models changed since the job was made, a job for the models in use is made in the same
  commit that sets this one aside.

The worker imports no torch: models live in the child alone.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

from sqlalchemy import Connection

from gatekeeper.assemble.content import content_digest
from gatekeeper.configuration import choice, judging
from gatekeeper.errors import ChildFailed
from gatekeeper.gate import passing
from gatekeeper.gate.ruling import Court
from gatekeeper.log import error_name, get_logger
from gatekeeper.notify import losses
from gatekeeper.settings import Settings
from gatekeeper.work import clinical
from gatekeeper.work.clinical_request import measured_of
from gatekeeper.work.earlier import earlier_reports
from gatekeeper.work.heartbeat import Heartbeat
from gatekeeper.work.messages import ANSWER, Answer, ResultFile
from gatekeeper.work.process import Child, ChildLimits, ChildOutOfSpace, ChildStopped
from gatekeeper.work.request import request_for
from gatekeeper.work.settling import settle
from gatekeeper.work.shadowing import work_once
from storage import backoff, failpoint, instances, jobs, nodes
from storage.engine import Database, DatabaseUnavailableError
from storage.filesystem import OUT_OF_SPACE
from storage.records import ClinicalValue, Instance, Job, Outcome, Result
from storage.settlement import ResultConflictError
from storage.spool import Spool

log = get_logger()

SCRATCH = "scratch"
"""Folder beside the spool's own, for what children write; swept of what killed workers left."""
_RESIDUE_SECONDS = 3600.0
_CHUNK = 1 << 20
_STORING_AT_ONCE = 8
_FAIR = 3
"""Every so many claims take the oldest job, however urgent others are."""


def serve(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT; the body of `gatekeeper work`."""
    database = Database.connect(settings.database.url, settings.database.lock_seconds)
    worker = Worker(settings, database, Spool(Path(settings.spool.directory)))

    def stop(_number: int, _frame: FrameType | None) -> None:
        worker.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        worker.run()
    finally:
        database.dispose()


class Worker:
    """One worker with its child.

    Args:
        settings: limits and models.
        database: open; shared with nobody but this worker's heartbeat.
        spool: of received and result files.
    """

    def __init__(self, settings: Settings, database: Database, spool: Spool) -> None:
        self._settings = settings
        self._database = database
        self._spool = spool
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._child = Child(
            ChildLimits(settings.work.memory_mib, settings.work.device, settings.work.threads)
        )
        self._stop = threading.Event()
        self._chance = random.Random()  # noqa: S311 - spreads retries
        self._claims = 0
        self._scratch = spool.root / SCRATCH

    @property
    def child_pid(self) -> int | None:
        """Process id of the child, None when none is running."""
        return self._child.pid

    def stop(self) -> None:
        """Ask `run` to end; safe from a signal handler or another thread."""
        self._stop.set()

    def close(self) -> None:
        """End the child."""
        self._child.stop()

    def run(self) -> None:
        """Work on one job after the other until `stop`."""
        self._prepare_scratch()
        log.info("worker_started", worker=self._name, role="work")
        named = self._name_restricted_models()
        failures = 0
        try:
            while not self._stop.is_set():
                try:
                    named = named or self._name_restricted_models()
                    found = self.run_once()
                    failures = 0
                except (DatabaseUnavailableError, ChildFailed) as error:
                    failures += 1
                    found = False
                    log.error("worker_hindered", worker=self._name, error=error_name(error))
                if not found:
                    pause = self._settings.work.poll_seconds
                    if failures:
                        pause = backoff.delay(failures, pause, 30.0, self._chance)
                    self._stop.wait(pause)
        finally:
            self.close()
            log.info("worker_stopped", worker=self._name, role="work")

    def _name_restricted_models(self) -> bool:
        """Log each model in use whose weights exclude commercial use; False without database."""
        try:
            with self._database.read() as tx:
                registry = choice.registry(tx, self._settings)
        except DatabaseUnavailableError as error:
            log.error("worker_hindered", worker=self._name, error=error_name(error))
            return False
        for one in registry.answering:
            if one.info.non_commercial:
                log.warning(
                    "model_not_for_commercial_use",
                    model=one.info.name,
                    version=one.info.version,
                    digest=one.info.digest,
                    profile=str(one.profile.key),
                )
        return True

    def run_once(self) -> bool:
        """Claim one job and bring it to an end; False when none is due.

        Raises:
            ChildFailed: when no child could be started. No job was claimed, so that a machine
                that cannot work uses up nobody's attempts.
            DatabaseUnavailableError: when the job could not be claimed, or not be ended; its
                lease then ends by itself.
        """
        self._child.start(self._stop)
        work = self._settings.work
        self._claims += 1
        oldest = self._claims % _FAIR == 0
        with self._database.begin() as tx:
            job = jobs.claim(tx, self._name, work.lease_seconds, oldest=oldest)
        if job is None:
            return work_once(
                self._database, self._spool, self._settings, self._child, self._name, self._stop
            )
        self._log("job_claimed", job)
        failpoint.reached("worker.claimed", job.study_instance_uid)
        beating = Heartbeat(self._database, job, work.lease_seconds, self._stop, work.stop_seconds)
        with beating:
            self._bring_to_an_end(job, beating)
        return True

    def _bring_to_an_end(self, job: Job, heartbeat: Heartbeat) -> None:
        prefix = f"job-{job.id}-{job.attempt}-"
        try:
            self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(
                prefix=prefix, dir=self._scratch, ignore_cleanup_errors=True
            ) as scratch:
                self._analyse(job, Path(scratch), heartbeat)
        except ChildStopped:
            if heartbeat.lost:
                self._log("job_lost", job)
            else:
                self._fail(job, "released: the worker was asked to stop", 0.0)
        except ChildOutOfSpace as error:
            self._wait_for_space(job, str(error))
        except ChildFailed as error:
            self._attempt_failed(job, f"analysis failed: {error}")
        except ResultConflictError:
            self._fail(job, "a result's UID is in use for other content", None)
        except OSError as error:
            text = os.strerror(error.errno or 0)
            if error.errno in OUT_OF_SPACE:
                self._wait_for_space(job, text)
            else:
                self._attempt_failed(job, f"the spool failed: {text}")

    def _analyse(self, job: Job, scratch: Path, heartbeat: Heartbeat) -> None:
        with self._database.read() as tx:
            content = instances.of_study(tx, job.study_instance_uid)
            known = nodes.listing(tx)
            earlier = earlier_reports(tx, job)
            judged_by = judging.read(tx, self._settings)
        if content_digest(content) != job.content_digest:
            self._fail(
                job, f"{jobs.SUPERSEDED}: the study changed after revision {job.revision}", None
            )
            return
        gone = sum(item.removed_at is not None for item in content)
        if gone:
            reason = f"{gone} instances were removed by retention; have the study sent again"
            self._fail(job, reason, None)
            return
        work = self._settings.work
        owner = clinical.whose(content, self._spool, self._settings)
        asked = clinical.asked(self._database, job, owner, self._settings)
        request = scratch / "request.json"
        request_for(job, content, self._spool, scratch, judged_by, known, earlier, asked).write(
            request
        )
        reply = self._child.ask(request, work.cpu_seconds, work.wall_seconds, heartbeat.cancelled)
        if "models" in reply:
            self._models_changed(job, str(reply["models"]))
            return
        started = time.perf_counter()
        answer = Answer.read(scratch / ANSWER)
        # Each file waits for the disk by itself; the file system joins waits that come together.
        with ThreadPoolExecutor(_STORING_AT_ONCE) as pool:
            results = list(pool.map(functools.partial(self._store, scratch), answer.results))
        stages = dict(answer.stages)
        stages["store"] = round((time.perf_counter() - started) * 1000, 3)
        stages["queued"] = round(((job.claimed_at or job.created_at) - job.created_at) * 1000, 3)
        measured = clinical.brought(measured_of(answer.measured), job, owner)
        self._settle(job, answer, stages, results, content, measured)

    def _store(self, scratch: Path, file: ResultFile) -> Result:
        """Move one result file into the spool."""
        path = scratch / file.name
        with path.open("rb") as source, self._spool.writer() as writer:
            while data := source.read(_CHUNK):
                writer.write(data)
            stored = writer.commit()
        path.unlink()
        return Result(
            sop_instance_uid=file.sop_instance_uid,
            sop_class_uid=file.sop_class_uid,
            series_instance_uid=file.series_instance_uid,
            transfer_syntax_uid=file.transfer_syntax_uid,
            kind=file.kind,
            digest=stored.digest,
            size=stored.size,
            language=file.language,
        )

    def _settle(
        self,
        job: Job,
        answer: Answer,
        stages: dict[str, float],
        results: Sequence[Result],
        content: Sequence[Instance],
        measured: Sequence[ClinicalValue],
    ) -> None:
        """Write outcome, results, deliveries and what passes the gate in one fenced commit."""
        outcome = Outcome(
            job_id=job.id,
            verdict=answer.verdict,
            reason=answer.reason,
            score=answer.score,
            p_value=answer.p_value,
            evidence=answer.evidence | {"peak_mib": answer.peak_mib},
            stages=stages,
        )
        court = Court(self._database, self._spool, self._settings.rules)
        plan = court.when_judged(job.study_instance_uid, content, outcome)
        done = passing.Proceedings()

        def end(tx: Connection) -> bool:
            return settle(tx, done, job, outcome, results, plan, self._settings, measured)

        if self._write(end):
            failpoint.reached("worker.settled", job.study_instance_uid)
            done.log()
            log.info(
                "job_done",
                job=job.id,
                attempt=job.attempt,
                study=job.study_instance_uid,
                verdict=answer.verdict.value,
                count=len(results),
                milliseconds=round(sum(stages.values()) - stages["queued"]),
            )
        else:
            self._log("job_lost", job)

    def _models_changed(self, job: Job, active: str) -> None:
        """Make a job for the models in use in this one's place.

        When that job exists already, another worker may hold the models that this job names: it
        is tried again, and dead at last.
        """
        reason = f"{jobs.SUPERSEDED}: the models changed since the job was made"

        def replace(tx: Connection) -> bool:
            study, content = job.study_instance_uid, job.content_digest
            if jobs.enqueue(tx, study, content, active, job.revision) is None:
                return False
            return jobs.fail(tx, job.id, job.attempt, reason, None)

        if self._write(replace):
            self._log("job_superseded", job)
        else:
            self._attempt_failed(job, reason)

    def _attempt_failed(self, job: Job, reason: str) -> None:
        """Queue the job again after a growing delay, or set it aside as dead."""
        work = self._settings.work
        made = job.attempt - job.attempts_before
        if made >= work.maximum_attempts:
            self._fail(job, f"{reason}; given up after {made} attempts", None)
            return
        delay = backoff.delay(made, work.retry_seconds, work.retry_maximum_seconds, self._chance)
        self._fail(job, reason, delay)

    def _wait_for_space(self, job: Job, reason: str) -> None:
        """Queue the job again, the attempt uncounted, after a delay that grows with every claim."""
        work = self._settings.work
        delay = backoff.delay(
            job.attempt, work.retry_seconds, work.retry_maximum_seconds, self._chance
        )
        written = self._write(
            lambda tx: jobs.wait_for_space(tx, job.id, job.attempt, reason, delay)
        )
        self._failed(job, f"{jobs.NO_SPACE}{reason}", delay, written)

    def _fail(self, job: Job, reason: str, delay: float | None) -> None:
        def give_up(tx: Connection) -> bool:
            held = jobs.fail(tx, job.id, job.attempt, reason, delay)
            if held and delay is None:
                losses.job_dead(tx, job.id)
            return held

        self._failed(job, reason, delay, self._write(give_up))

    def _failed(self, job: Job, reason: str, delay: float | None, written: bool) -> None:
        state = "lost" if not written else "dead" if delay is None else "queued"
        log.error(
            "job_failed",
            job=job.id,
            attempt=job.attempt,
            study=job.study_instance_uid,
            reason=reason,
            state=state,
        )

    def _write(self, change: Callable[[Connection], bool]) -> bool:
        """Commit `change`, waiting out a database that is away for up to one lease.

        Raises:
            DatabaseUnavailableError: when it stays away; nothing was written.
        """
        deadline = time.monotonic() + self._settings.work.lease_seconds
        failures = 0
        while True:
            try:
                with self._database.begin() as tx:
                    return change(tx)
            except DatabaseUnavailableError:
                failures += 1
                if time.monotonic() > deadline or self._stop.is_set():
                    raise
                self._stop.wait(backoff.delay(failures, 0.1, 5.0, self._chance))

    def _log(self, event: str, job: Job) -> None:
        log.info(
            event,
            job=job.id,
            attempt=job.attempt,
            study=job.study_instance_uid,
            worker=self._name,
        )

    def _prepare_scratch(self) -> None:
        """Make the scratch folder, and remove what workers left that were killed long ago."""
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        oldest = time.time() - self._settings.work.wall_seconds - _RESIDUE_SECONDS
        for folder in self._scratch.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)
