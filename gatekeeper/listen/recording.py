"""The recorder as a process, beside several listeners on SQLite; see `storage.recorder`.

It ends when the last of the listeners has, and only then: told to end with them, it would leave
those without answers that still receive.
"""

from __future__ import annotations

import gc
import signal
import sys

from gatekeeper.listen.inherited import RECORDER_ROLE, Inherited
from gatekeeper.log import configure, error_name, get_logger
from storage import recorder
from storage.engine import Database

log = get_logger()


def serve(inherited: Inherited) -> None:
    """Enter what the listeners receive until all of them are gone.

    Raises:
        SystemExit: with a failure when it must be started afresh.
    """
    settings = inherited.read_settings()
    configure(settings.log.level)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    database = Database.connect(settings.database.url, settings.database.lock_seconds)
    # What was loaded stays; the collector need not look through it for every entry.
    gc.freeze()
    try:
        with inherited.recorder_end() as control:
            in_order = recorder.serve(database, control, settings.database.rows_at_once)
    except Exception as error:  # noqa: BLE001 - a traceback could show what was received
        log.error("recorder_failed", error=error_name(error), role=RECORDER_ROLE)
        raise SystemExit(1) from None
    database.dispose()
    if not in_order:
        log.error("synchronisation_failed", role=RECORDER_ROLE)
        raise SystemExit(1)
    log.info("stopped", role=RECORDER_ROLE)


if __name__ == "__main__":
    serve(Inherited.parse(sys.argv[1]))
