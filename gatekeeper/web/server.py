"""The web role assembled: uvicorn on a bounded socket, the intake behind it, and its life."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from gatekeeper.admin.console import Console
from gatekeeper.atna.reading import Readings
from gatekeeper.atna.refusals import Refusals
from gatekeeper.errors import ConfigurationError
from gatekeeper.listen.associations import OpenAssociations
from gatekeeper.listen.backpressure import QueueMark
from gatekeeper.listen.guard import Caps, Connections
from gatekeeper.listen.receive import receiver_of
from gatekeeper.log import error_name, get_logger
from gatekeeper.metrics.routes import Watch
from gatekeeper.metrics.tally import Tally
from gatekeeper.metrics.tally_files import TallyWriter
from gatekeeper.residue import sweep
from gatekeeper.settings import Settings
from gatekeeper.web.access import Access
from gatekeeper.web.app import make_app
from gatekeeper.web.connections import BoundedListener
from gatekeeper.web.guard import Guard
from gatekeeper.web.holdings import Holdings
from gatekeeper.web.metadata import quiet
from gatekeeper.web.retrieve import Retrieve
from gatekeeper.web.serving import Service
from gatekeeper.web.store import Store
from gatekeeper.web.throttle import Throttle
from gatekeeper.web.transport import tls_context
from storage.engine import Database
from storage.spool import Spool

_END_SECONDS = 10.0

log = get_logger()


class WebServer:
    """The web role of one process.

    Args:
        settings: all settings. Port 0 takes a free one.
        database: connected and migrated.
        spool: where the bytes are kept.
        config_file: that the settings came from; None without one.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        spool: Spool,
        config_file: Path | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._spool = spool
        self.application: FastAPI | None = None
        """What answers, once it has been started."""
        self._listener: BoundedListener | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._tally = Tally()
        self._tallying = TallyWriter(self._tally, spool.root, "web", settings.metrics.flush_seconds)
        # Who uploads is told at once what became of each instance.
        self._receiver = receiver_of(settings, database, spool, self._tally, rows_first=True)
        self._queue = QueueMark(settings, database)
        self._associations = OpenAssociations(database, settings.listen.association_lease / 3)
        self._tally.open = self._associations.count
        throttle = Throttle(settings.web.failures, settings.web.failure_seconds)
        self._refusals = Refusals(database, settings)
        self._readings = Readings(database, settings)
        access = Access(database, throttle)
        self._service = Service(settings, access, self._refusals, self._readings)
        self._store = Store(self._service, self._receiver, self._queue, self._associations)
        self.console = Console.of(settings, database, spool, config_file)
        """What the pages work with."""

    @property
    def failed(self) -> threading.Event:
        """Set when the process must end, with a failure, to be started afresh."""
        return self._receiver.failed

    @property
    def port(self) -> int:
        """The TCP port that is open.

        Raises:
            RuntimeError: before `start`.
        """
        if self._listener is None:
            raise RuntimeError("the server has not been started")
        return int(self._listener.getsockname()[1])

    @property
    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Open the port and serve from threads of our own.

        Raises:
            ConfigurationError: if plain http is not allowed here, or a file of `tls` cannot be
                used.
            OSError: if the port cannot be opened.
        """
        web = self._settings.web
        context = tls_context(self._settings)
        connections = Connections(Caps(web.maximum_connections, web.maximum_connections_per_host))
        listener = BoundedListener(web.host, web.port, connections, web.header_seconds)
        # One more than may be read, so that a search among more is seen to have ended early.
        holdings = Holdings(self._database, web.serves, web.maximum_read + 1)
        retrieve = Retrieve(self._service, holdings, self._spool)
        watch = Watch(self._service, self._database, self._spool)
        application = make_app(self._store, retrieve, watch, self.console, web.retry_after_seconds)
        config = uvicorn.Config(
            Guard(application, web, listener),
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=max(1, int(web.header_seconds)),
            timeout_graceful_shutdown=max(1, int(web.stop_seconds)),
            h11_max_incomplete_event_size=web.maximum_header_kib << 10,
            ssl_context_factory=None if context is None else lambda _config, _default: context,
        )
        self.application = application
        self._listener = listener
        self._server = uvicorn.Server(config)
        self._associations.start()
        self._tallying.start()
        self._refusals.start()
        self._readings.start()
        self._thread = threading.Thread(
            target=self._run, args=(self._server, listener), name="web", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Take no more, let requests under way finish for a while, and settle what was taken."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(self._settings.web.stop_seconds + _END_SECONDS)
        if self._listener is not None:
            self._listener.close()
        self._store.close()
        self.console.viewer.close()
        self._service.close()
        self._receiver.close(_END_SECONDS)
        self._queue.close(_END_SECONDS)
        self._associations.stop(_END_SECONDS)
        self._tallying.stop(_END_SECONDS)
        self._refusals.stop(_END_SECONDS)
        self._readings.stop(_END_SECONDS)

    def _run(self, server: uvicorn.Server, listener: BoundedListener) -> None:
        try:
            asyncio.run(server.serve(sockets=[listener]))
        except Exception as error:  # noqa: BLE001 - the main thread sees that we ended
            log.error("web_failed", role="web", error=error_name(error))


def serve(settings: Settings, config_file: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT; the body of `gatekeeper web`.

    Args:
        settings: all settings.
        config_file: that they came from; None without one.

    Raises:
        SystemExit: with a failure when it could not start or must be started afresh.
    """
    done = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        done.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    quiet()
    database = Database.connect(settings.database.url, settings.database.lock_seconds)
    try:
        if not settings.web.port:
            raise ConfigurationError("web.port", "0: no port is to be opened")
        database.migrate()
        spool = Spool(Path(settings.spool.directory))
        swept = sweep(database, spool, settings.tick.residue_seconds)
        server = WebServer(settings, database, spool, config_file)
        server.start()
    except (ConfigurationError, SQLAlchemyError, OSError) as error:
        log.error("web_not_started", error=error_name(error), role="web")
        raise SystemExit(1) from None
    log.info("web_serving", role="web", address=settings.web.host, port=server.port, count=swept)
    if server.console.first_start.needed():
        log.warning("first_start", role="web", code=server.console.first_start.code)
    failed = False
    while not done.wait(0.2) and not failed:
        failed = server.failed.is_set() or not server.alive
    server.stop()
    database.dispose()
    log.info("stopped", role="web")
    if failed:
        raise SystemExit(1)
