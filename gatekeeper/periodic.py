"""Periodic work: complete studies, forward, index, end holds, rescue lost claims, sweep, retain.

Each tick is a function that may run twice, late, or in two processes at once, and does no more
than the work that is there: the database decides who did it. A tick that meets trouble logs it
and comes again.
"""

from __future__ import annotations

import functools
import logging
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy.exc import SQLAlchemyError

from gatekeeper import certificates, decision_record, residue, study_index
from gatekeeper.assemble.completeness import is_complete, quiet_seconds_of
from gatekeeper.assemble.content import content_digest
from gatekeeper.atna import upkeep
from gatekeeper.atna.derived import derive
from gatekeeper.atna.removals import Removals
from gatekeeper.configuration import changes, choice
from gatekeeper.drift import watch
from gatekeeper.errors import ConfigurationError
from gatekeeper.gate import limits, passing
from gatekeeper.gate.copying import copy
from gatekeeper.gate.policy import policy_of
from gatekeeper.gate.ruling import Court, instructions
from gatekeeper.log import error_name, get_logger
from gatekeeper.notify import losses
from gatekeeper.notify.announce import announce
from gatekeeper.notify.events import CertificateExpires
from gatekeeper.retention import retain
from gatekeeper.settings import (
    CommitmentSettings,
    NotifySettings,
    PriorSettings,
    SendSettings,
    Settings,
    WorkSettings,
)
from models.registry import Registry
from storage import (
    backoff,
    commitments,
    confirmations,
    deliveries,
    failpoint,
    instances,
    jobs,
    nodes,
    notifications,
    priors,
    shadows,
    studies,
)
from storage.engine import Database
from storage.records import ShadowState, Study
from storage.spool import Spool

log = get_logger()


@dataclass(frozen=True, slots=True)
class Context:
    """What ticks work on."""

    settings: Settings
    database: Database
    spool: Spool
    jitter: random.Random = field(default_factory=random.Random)
    copied: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    """What `gatekeeper.gate.copying` need not look at again."""

    @property
    def court(self) -> Court:
        """Where rules are asked."""
        return Court(self.database, self.spool, self.settings.rules)

    def model_digest(self) -> str:
        """Return the digest of the active models, read afresh."""
        with self.database.read() as tx:
            chosen = choice.chosen(tx, self.settings)
        return Registry(self.settings.models.directories, chosen).digest


Tick = Callable[[Context], int]
"""Does the work that is due and returns how much it was."""


def tick_complete(context: Context) -> int:
    """Mark quiet studies complete and queue a job for each; return how many were completed.

    A study, its job and its forwards are one transaction, so none can be complete without them.
    """
    listen = context.settings.listen
    with context.database.read() as tx:
        candidates = studies.open_studies(tx, listen.association_lease)
        by_ae = {node.ae_title: node for node in nodes.listing(tx)}
    due = [
        candidate.study
        for candidate in candidates
        if is_complete(
            candidate,
            quiet_seconds_of(by_ae.get(candidate.study.source_ae), listen.quiet_seconds),
            listen.patience_seconds,
        )
    ]
    if not due:
        return 0
    model_digest = context.model_digest()
    return sum(_complete(context, study, model_digest) for study in due)


def _complete(context: Context, study: Study, model_digest: str) -> bool:
    """Complete one study unless it changed since it was looked at."""
    uid = study.study_instance_uid
    # What it changed to, when it did, completes another time, and is not what was asked about.
    plan = context.court.on_receipt(uid)
    with context.database.begin() as tx:
        content = instances.of_study(tx, uid)
        digest = content_digest(content)
        revision = studies.complete(tx, uid, digest, study.last_received_at)
        if revision is None or not content:
            return False
        said = instructions(plan)
        job = jobs.enqueue(tx, uid, digest, model_digest, revision, plan.priority, said)
        for one in plan.fetches:
            priors.request(tx, uid, one.node, one.rule, one.count, one.modality)
        done = passing.expect(tx, uid, digest, revision, plan, nodes.listing(tx))
        done.close(tx)
        failpoint.reached("tick.completing", uid)
    failpoint.reached("tick.completed", uid)
    log.info(
        "study_complete",
        study=uid,
        revision=revision,
        instances=len(content),
        digest=digest,
        job=job,
    )
    done.log()
    return True


def tick_forward(context: Context) -> int:
    """Copy received instances to nodes that wait for no verdict; return how many."""
    gate = context.settings.gate
    return copy(context.database, gate.copy_instances, gate.decide_at_once, context.copied)


def tick_gate(context: Context) -> int:
    """End holds whose time is over, and waits for a verdict; return how many it decided about."""
    gate = context.settings.gate
    with context.database.read() as tx:
        policy = policy_of(tx, gate)
    return limits.look(context.database, policy, gate.decide_at_once, context.court.of_forward)


def tick_rescue(context: Context) -> int:
    """Take back what was claimed by who stopped renewing the claim; return how many."""
    work, send = context.settings.work, context.settings.send
    report, notify = context.settings.commitment, context.settings.notify
    fetch = context.settings.priors

    def delay(
        limits: WorkSettings | SendSettings | CommitmentSettings | NotifySettings | PriorSettings,
    ) -> Callable[[int], float]:
        return functools.partial(
            backoff.delay,
            first=limits.retry_seconds,
            maximum=limits.retry_maximum_seconds,
            jitter=context.jitter,
        )

    with context.database.begin() as tx:
        lost = {
            "jobs_rescued": jobs.rescue(tx, work.maximum_attempts, delay(work)),
            "deliveries_rescued": deliveries.rescue(tx, send.maximum_attempts, delay(send)),
            "confirmations_rescued": confirmations.rescue(tx, send.maximum_attempts, delay(send)),
            "reports_rescued": commitments.rescue(tx, report.maximum_attempts, delay(report)),
            "shadows_rescued": shadows.rescue(tx, work.maximum_attempts, delay(work)),
            "notifications_rescued": notifications.rescue(
                tx, notify.maximum_attempts, delay(notify)
            ),
            "priors_rescued": priors.rescue(tx, fetch.maximum_attempts, delay(fetch)),
        }
        for job in lost["jobs_rescued"].dead_ids:
            losses.job_dead(tx, job)
        for delivery in lost["deliveries_rescued"].dead_ids:
            losses.delivery_dead(tx, delivery)
        expired = priors.expire(tx, fetch.patience_seconds)
        failpoint.reached("tick.rescuing")
    for kind, found in lost.items():
        if found.requeued:
            log.warning(kind, count=found.requeued, state="queued")
        if found.dead:
            log.error(kind, count=found.dead, state="dead")
    if expired:
        log.error("priors_given_up", count=expired, limit=fetch.patience_seconds)
    return expired + sum(found.requeued + found.dead for found in lost.values())


def tick_sweep(context: Context) -> int:
    """Settle or remove what broken transfers and ended listeners left; return files removed.

    Notifications that ended long ago are forgotten too.
    """
    seconds = context.settings.tick.residue_seconds
    removed = residue.sweep(context.database, context.spool, seconds)
    if removed:
        log.info("spool_swept", count=removed)
    with context.database.begin() as tx:
        forgotten = notifications.forget(tx, context.settings.notify.keep_days)
    if forgotten:
        log.info("notifications_forgotten", count=forgotten)
    return removed


def tick_certificates(context: Context) -> int:
    """Warn of each certificate of ours or of a CA that expires soon; return how many."""
    tls = context.settings.tls
    try:
        found = certificates.in_use(tls)
    except ConfigurationError as error:
        log.error("certificate_unreadable", reason=str(error))
        return 0
    due = [one for one in found if one.days < tls.warn_days]
    for one in due:
        log.warning(
            "certificate_expires",
            key=one.key,
            certificate=one.certificate.fingerprint,
            days=one.days,
        )
    if due:
        with context.database.begin() as tx:
            for one in due:
                announce(tx, CertificateExpires(one.key, one.days), certificates.stage(one))
    return len(due)


def tick_retain(context: Context) -> int:
    """Remove received files that are delivered and due to go; return how many."""
    told = Removals(context.settings).record
    return retain(context.database, context.spool, context.settings.retention, told)


def tick_index(context: Context) -> int:
    """Read what people find studies by, of those that changed; return how many."""
    return study_index.read_due(context.database, context.spool, context.settings.index)


def tick_record(context: Context) -> int:
    """Sign a record of each study that something was decided about; return how many."""
    try:
        return decision_record.sign_due(
            context.database,
            context.settings.signing_key,
            context.settings.records.studies_at_once,
        )
    except ConfigurationError as error:
        log.error("records_not_signed", reason=str(error))
        return 0


def tick_shadow(context: Context) -> int:
    """Decide what was judged by the terms in shadow, which do nothing; return how many jobs."""
    # Looking back takes more libraries than a site without shadows needs.
    with context.database.read() as tx:
        if not any(one.state is ShadowState.RUNNING for one in shadows.listing(tx)):
            return 0
    from gatekeeper.backtest.shadowing import catch_up

    at_once = context.settings.gate.decide_at_once
    return catch_up(context.database, context.spool, context.settings, at_once)


def tick_drift(context: Context) -> int:
    """Compare what was judged with what came before; return how many jobs were looked at."""
    return watch.look(context.database, context.settings.drift)


def tick_audit(context: Context) -> int:
    """Make audit messages of what happened, and look after those made; return how many are new."""
    upkeep.tend(context.database, context.settings.audit, context.jitter)
    return derive(context.database, context.settings)


TICKS: dict[str, Tick] = {
    "complete": tick_complete,
    "forward": tick_forward,
    "gate": tick_gate,
    "rescue": tick_rescue,
    "sweep": tick_sweep,
    "certificates": tick_certificates,
    "retain": tick_retain,
    "index": tick_index,
    "record": tick_record,
    "shadow": tick_shadow,
    "drift": tick_drift,
    "audit": tick_audit,
}
"""Every tick by name; each has a setting ``tick.NAME_seconds``."""


def run_once(context: Context) -> dict[str, int]:
    """Run every tick now and return what each did.

    Raises:
        SQLAlchemyError, OSError: from the first tick in trouble.
    """
    return {name: tick(context) for name, tick in TICKS.items()}


def run_safely(name: str, context: Context) -> int:
    """Run one tick; trouble is logged, and the tick comes again."""
    try:
        return TICKS[name](context)
    except (SQLAlchemyError, OSError) as error:
        log.warning("tick_failed", tick=name, error=error_name(error))
    except Exception as error:  # noqa: BLE001 - a defect in one tick must not stop the others
        log.error("tick_failed", tick=name, error=error_name(error))
    return 0


def scheduler(context: Context) -> BackgroundScheduler:
    """Return a scheduler of all ticks, not started.

    A late tick runs once, however often it was missed (coalesce, no misfire grace), and never
    beside itself in one process.
    """
    seconds: dict[str, float] = {
        name: getattr(context.settings.tick, f"{name}_seconds") for name in TICKS
    }
    background = BackgroundScheduler(
        timezone=UTC,
        job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
    )
    for name in TICKS:
        background.add_job(
            run_safely,
            "interval",
            seconds=seconds[name],
            args=(name, context),
            id=name,
            # At start too: a restart finds what waited.
            next_run_time=datetime.now(UTC),
        )
    return background


def serve(settings: Settings) -> None:
    """Run the ticks until SIGTERM or SIGINT; the body of `gatekeeper tick`.

    Raises:
        SystemExit: with a failure when it could not start.
    """
    done = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        done.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    _hold_scheduler_log()
    database = Database.connect(settings.database.url, settings.database.lock_seconds)
    try:
        database.migrate()
        context = Context(settings, database, Spool(Path(settings.spool.directory)))
    except (SQLAlchemyError, OSError) as error:
        log.error("ticks_not_started", error=error_name(error), role="tick")
        raise SystemExit(1) from None
    _begin_versions(context)
    background = scheduler(context)
    background.start()
    log.info("ticking", role="tick", count=len(TICKS))
    done.wait()
    background.shutdown(wait=True)
    database.dispose()
    log.info("stopped", role="tick")


def _begin_versions(context: Context) -> None:
    """Record what the configuration is, if it was changed past us or nothing was recorded yet."""
    try:
        changes.noticed(context.database, context.settings)
    except (ConfigurationError, SQLAlchemyError) as error:
        log.error("configuration_not_recorded", error=error_name(error))


def _hold_scheduler_log() -> None:
    """Keep the scheduler's own lines, which are no structured events, off standard error."""
    logger = logging.getLogger("apscheduler")
    logger.handlers[:] = [logging.NullHandler()]
    logger.propagate = False
