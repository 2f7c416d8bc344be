"""Shadow work: a worker without a job analyses one study by models that are in shadow.

Ordinary jobs go first: this is asked only when none is due, and one study at a time, so that a job
waits for it at most as long as one analysis takes. What it found is written under the attempt's
fence, into the shadow's own table alone.
"""

from __future__ import annotations

import threading

from gatekeeper.errors import ChildFailed
from gatekeeper.log import get_logger
from gatekeeper.settings import Settings
from gatekeeper.work.heartbeat import Heartbeat
from gatekeeper.work.process import Child, ChildStopped
from storage import shadows
from storage.engine import Database
from storage.records import ShadowState, ShadowTask
from storage.spool import Spool

log = get_logger()


def work_once(
    database: Database,
    spool: Spool,
    settings: Settings,
    child: Child,
    worker: str,
    stopping: threading.Event,
) -> bool:
    """Analyse one study in shadow, if one waits; return whether one did.

    Raises:
        DatabaseUnavailableError: when it could not be claimed or ended; its lease ends by itself.
    """
    lease = settings.work.lease_seconds
    with database.read() as tx:
        if not shadows.waiting(tx):
            return False
    with database.begin() as tx:
        task = shadows.claim(tx, worker, lease)
    if task is None:
        return False
    beating = Heartbeat(
        database, task, lease, stopping, settings.work.stop_seconds, shadows.heartbeat
    )
    with beating:
        _bring_to_an_end(database, spool, settings, child, task, beating)
    return True


def _bring_to_an_end(
    database: Database,
    spool: Spool,
    settings: Settings,
    child: Child,
    task: ShadowTask,
    beating: Heartbeat,
) -> None:
    # Only a worker with models in shadow pays for what looks back.
    from gatekeeper.backtest import shadowing
    from gatekeeper.backtest.replay import NotReplayable

    with database.read() as tx:
        shadow = shadows.get(tx, task.shadow)
    state = "lost"
    try:
        if shadow is None or shadow.state is not ShadowState.RUNNING:
            raise NotReplayable("the shadow ended before it was analysed")
        pair = shadowing.analysed(
            database, spool, settings, shadow, task.job_id, child, beating.cancelled
        )
    except ChildStopped:
        if not beating.lost:
            with database.begin() as tx:
                shadows.fail(tx, task.id, task.attempt, "the worker was asked to stop", 0.0)
    except (NotReplayable, ChildFailed) as error:
        state = "dead"
        with database.begin() as tx:
            shadows.fail(tx, task.id, task.attempt, str(error), None)
    else:
        with database.begin() as tx:
            settled = shadows.settle(tx, task.id, task.attempt, shadowing.as_json(pair))
        state = "done" if settled else "lost"
    log.info("shadow_decided", job=task.job_id, attempt=task.attempt, state=state)
