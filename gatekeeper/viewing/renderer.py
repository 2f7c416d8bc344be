"""The renderer: one thread that has series drawn, one after the other, by a limited child.

Who asks is answered at once with how far it is, and asks again. The same series is drawn once,
however many ask for it; what could not be drawn is not tried again for a while.
"""

from __future__ import annotations

import enum
import queue
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from gatekeeper.errors import ChildFailed, GatekeeperError
from gatekeeper.extras import viewing_problem
from gatekeeper.identifiers import Digest
from gatekeeper.log import error_name, get_logger
from gatekeeper.settings import Settings
from gatekeeper.viewing.cache import FOLDER, Cache
from gatekeeper.viewing.request import TOTAL, ViewRequest
from gatekeeper.work.process import Child, ChildLimits

_MODULE = "gatekeeper.viewing.child"
_REQUEST = "request.json"
_FAILURES = 200
"""Failures that are remembered."""
_RETRY_SECONDS = 60.0
_IDLE_SECONDS = 60.0
"""After which a child that nobody asks ends, and the cache is tidied."""
_STOP_SECONDS = 15.0

log = get_logger()


class State(enum.StrEnum):
    """How far a drawing is."""

    READY = "ready"
    WAITING = "waiting"
    DRAWING = "drawing"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a drawing is.

    Attributes:
        state: in a word.
        reason: why it failed, in a sentence.
        drawn, total: slices; 0 of 0 before it is known how many there are.
    """

    state: State
    reason: str = ""
    drawn: int = 0
    total: int = 0


class Renderer:
    """Has series drawn; used from any thread.

    Args:
        settings: limits, and where the spool and its cache are.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.viewing
        self._spool = Path(settings.spool.directory)
        self._low_water_bytes = settings.spool.low_water_mib << 20
        folder = self._settings.cache
        self.cache = Cache(
            Path(folder) if folder else self._spool / FOLDER,
            self._settings.cache_mib << 20,
            self._settings.cache_hours * 3600,
        )
        self._lock = threading.Lock()
        self._requests: queue.Queue[ViewRequest] = queue.Queue(self._settings.waiting)
        self._known: set[str] = set()
        self._drawing: tuple[str, Path] | None = None
        self._failures: dict[str, tuple[float, str]] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def ask(self, request: ViewRequest) -> Progress:
        """Return how far the drawing of a series is; the first who asks has it begun."""
        key = request.key
        with self._lock:
            known = self._standing(key)
            if known is not None:
                return known
            if not self._requests.full():
                # Nobody else puts anything in.
                self._requests.put_nowait(request)
                self._known.add(key)
                self._start()
            return Progress(State.WAITING)

    def _standing(self, key: str) -> Progress | None:
        """Return how far a drawing is; None for one that is to be begun."""
        if self._drawing is not None and self._drawing[0] == key:
            return _progress(self._drawing[1])
        if key in self._known:
            return Progress(State.WAITING)
        if self.cache.manifest(Digest(key)) is not None:
            return Progress(State.READY)
        reason = self._hindrance(key)
        return Progress(State.FAILED, reason) if reason else None

    def _hindrance(self, key: str) -> str:
        failed_at, reason = self._failures.get(key, (0.0, ""))
        if reason and time.monotonic() - failed_at < _RETRY_SECONDS:
            return reason
        problem = viewing_problem()
        if problem is not None:
            return f"This machine cannot show images: it {problem}."
        return "This server is stopping." if self._stop.is_set() else ""

    def close(self) -> None:
        """End the thread and its child, with what is being drawn."""
        self._stop.set()
        thread = self._thread
        if thread is not None:
            thread.join(_STOP_SECONDS)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="viewing", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        # The child lives no longer than the thread that starts it: this one.
        limits = ChildLimits(self._settings.memory_mib, "cpu", 1)
        child = Child(limits, _MODULE)
        idle_since = time.monotonic()
        try:
            while not self._stop.is_set():
                try:
                    request = self._requests.get(timeout=0.2)
                except queue.Empty:
                    if time.monotonic() - idle_since > _IDLE_SECONDS:
                        child.stop()
                        self._tidy()
                        idle_since = time.monotonic()
                    continue
                self._serve(child, request)
                self._tidy()
                idle_since = time.monotonic()
        finally:
            child.stop()

    def _serve(self, child: Child, request: ViewRequest) -> None:
        key, began = request.key, time.monotonic()
        reason = ""
        try:
            self._draw(child, request, key)
        except GatekeeperError as error:
            reason = _told(error)
        except OSError as error:
            reason = f"The pictures cannot be written ({type(error).__name__})."
        with self._lock:
            self._drawing = None
            self._known.discard(key)
            if reason:
                self._failures[key] = (time.monotonic(), reason)
                while len(self._failures) > _FAILURES:
                    del self._failures[next(iter(self._failures))]
        fields = {"study": request.study_instance_uid, "series": request.series_instance_uid}
        seconds = round(time.monotonic() - began, 2)
        if reason:
            log.warning("series_not_drawn", reason=reason, seconds=seconds, **fields)
        else:
            log.info("series_drawn", seconds=seconds, **fields)

    def _draw(self, child: Child, request: ViewRequest, key: str) -> None:
        folder = self.cache.begin()
        try:
            if shutil.disk_usage(folder).free < self._low_water_bytes:
                raise ChildFailed("the disk is nearly full, and what is received goes first")
            pictures = folder / "pictures"
            pictures.mkdir()
            with self._lock:
                self._drawing = (key, pictures)
            request.write(folder / _REQUEST, pictures)
            bounds = self._settings
            reply = child.ask(
                folder / _REQUEST, bounds.cpu_seconds, bounds.wall_seconds, self._stop
            )
            if "drawn" not in reply:
                raise NotShown(str(reply.get("unreadable", "The child gave no answer.")))
            self.cache.adopt(pictures, Digest(key))
        finally:
            self.cache.drop(folder)

    def _tidy(self) -> None:
        try:
            gone = self.cache.tidy(10 * self._settings.wall_seconds)
        except OSError as error:
            log.warning("viewing_not_tidied", error=error_name(error))
            return
        if gone:
            log.info("viewing_tidied", count=gone)


class NotShown(GatekeeperError):
    """A series of which nothing can be shown; the text says why."""


def _told(error: GatekeeperError) -> str:
    if isinstance(error, NotShown):
        return str(error)
    return f"The pictures were not made: {error}."


def _progress(folder: Path) -> Progress:
    try:
        total = int((folder / TOTAL).read_text(encoding="ascii"))
        drawn = sum(1 for one in folder.iterdir() if one.suffix == ".png" and one.stem.isdigit())
    except (OSError, ValueError):
        return Progress(State.DRAWING)
    return Progress(State.DRAWING, drawn=drawn, total=total)
