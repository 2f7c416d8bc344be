"""The listener as a process: the only one of its role, or one of several that share the ports."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from sqlalchemy.exc import SQLAlchemyError

from gatekeeper.errors import ConfigurationError
from gatekeeper.listen.backpressure import forget_pauses
from gatekeeper.listen.inherited import Inherited
from gatekeeper.listen.server import ABORT_SECONDS, Listener
from gatekeeper.listen.share import Share
from gatekeeper.log import configure, error_name, get_logger
from gatekeeper.residue import sweep
from gatekeeper.settings import Settings
from storage.engine import Database
from storage.spool import Spool

_LOOK_SECONDS = 0.2

Make = Callable[[Settings, Database, Spool, Share | None], Listener]

log = get_logger()


def serve(settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT.

    Raises:
        SystemExit: with a failure when it could not start or must be started afresh.
    """
    _serve(settings, Listener, None)


def serve_share(inherited: Inherited, make: Make = Listener) -> None:
    """Listen beside other processes until SIGTERM, or until the parent is gone.

    Args:
        inherited: from the parent.
        make: makes the listener.

    Raises:
        SystemExit: with a failure when it could not start or must be started afresh.
    """
    settings = inherited.read_settings()
    configure(settings.log.level)
    _serve(settings, make, inherited)


def _serve(settings: Settings, make: Make, inherited: Inherited | None) -> None:
    done = threading.Event()
    _stop_on_signals(done.set)
    threading.excepthook = _log_thread_error
    role = "listen" if inherited is None else inherited.role
    share = None if inherited is None else inherited.share(settings)
    database = Database.connect(settings.database.url, settings.database.lock_seconds)
    try:
        database.migrate()
        spool = Spool(Path(settings.spool.directory))
        swept = sweep(database, spool, settings.tick.residue_seconds)
        forget_pauses(database)
        listener = make(settings, database, spool, share)
        listener.start()
        # What was loaded stays; the collector need not look through it while images come.
        gc.freeze()
    except (ConfigurationError, SQLAlchemyError, OSError) as error:
        log.error("listener_not_started", error=error_name(error), role=role)
        raise SystemExit(1) from None
    log.info(
        "listening",
        role=role,
        called_ae=settings.listen.ae_title,
        address=settings.listen.host,
        port=listener.port,
        count=swept,
    )
    if listener.tls_port:
        log.info("listening_tls", role=role, port=listener.tls_port)
    if inherited is not None:
        inherited.say_ready()
    failed = _wait(done, listener.failed, inherited)
    listener.stop(ABORT_SECONDS if failed else None)
    database.dispose()
    log.info("stopped", role=role)
    if failed:
        raise SystemExit(1)


def _wait(done: threading.Event, failed: threading.Event, inherited: Inherited | None) -> bool:
    """Wait for an end and return whether it was the failure."""
    while not done.wait(_LOOK_SECONDS):
        if failed.is_set():
            return True
        if inherited is not None and inherited.is_orphan():
            log.warning("listener_orphaned", role=inherited.role)
            break
    return failed.is_set()


def _stop_on_signals(stop: Callable[[], None]) -> None:
    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def _log_thread_error(details: threading.ExceptHookArgs) -> None:
    """Log the class of what ended a thread; the default prints a traceback with values."""
    error = details.exc_value
    log.error("thread_failed", error=error_name(error) if error is not None else "")


if __name__ == "__main__":
    serve_share(Inherited.parse(sys.argv[1]))
