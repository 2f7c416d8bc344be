"""Set-up: how far a new site has come, from our AE title to the first study, and its end.

What is done is read off what is there, so that it can be left, resumed, or done on the command
line; that somebody has finished or dismissed it is a line of the audit trail.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from gatekeeper import settings_file
from gatekeeper.history import read_history
from storage import audit, callers, nodes, studies
from storage.records import DeliveryState, JobState, Node, Study, StudyState

AE_TITLE_KEY = "listen.ae_title"
_ENDED = "setup ended"
_LATEST = 50
_JOB = {JobState.DONE: True, JobState.DEAD: False}
_ANALYSED = {
    True: "its verdict is there",
    False: "the analysis failed; the queue says why",
    None: "a worker takes it",
}
_SENT = {
    True: "the archive has them",
    False: "the archive did not take them; its page says why",
    None: "they are sent once there are some",
}


class Part(enum.StrEnum):
    """A part of the set-up, in order."""

    TITLE = "title"
    ARCHIVE = "archive"
    SCANNER = "scanner"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is.

    Attributes:
        archives: nodes that receive results and can be called.
        scanners: nodes that may send.
        done: parts that are done.
        ended: whether somebody has said that it is over.
    """

    archives: tuple[Node, ...]
    scanners: tuple[Node, ...]
    done: frozenset[Part]
    ended: bool

    @property
    def next(self) -> Part | None:
        """The first part that is not done."""
        return next((part for part in Part if part not in self.done), None)


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that a first transfer shows.

    Attributes:
        name: what is waited for.
        ok: whether it is there; None while it is waited for.
        text: what was seen, or what to look at.
        at: when, seconds since 1970; None when it was not, or that is not known.
    """

    name: str
    ok: bool | None
    text: str
    at: float | None = None


def read(tx: Connection, config_file: Path | None) -> Progress:
    """Return how far the set-up is."""
    known = nodes.listing(tx)
    archives = tuple(node for node in known if node.receives_results and node.port)
    scanners = tuple(node for node in known if node.may_send)
    found = {
        Part.TITLE: bool(known) or bool(settings_file.stated(config_file, AE_TITLE_KEY)),
        Part.ARCHIVE: bool(archives),
        Part.SCANNER: bool(scanners),
        Part.TRANSFER: bool(studies.listing(tx, 1)),
    }
    done = frozenset(part for part, is_done in found.items() if is_done)
    # A long trail is not read where nothing is left to do.
    ended = len(done) == len(Part) or bool(audit.listing(tx, action=_ENDED, limit=1))
    return Progress(archives, scanners, done, ended)


def end(tx: Connection, who: str) -> None:
    """Have the set-up over, by somebody's word."""
    audit.append(tx, who, _ENDED)


def transfer(tx: Connection, scanners: Sequence[Node], lease: float) -> list[Sign]:
    """Return what is seen of the first study of any of these scanners, step by step.

    Args:
        tx: the open transaction.
        scanners: nodes that may send.
        lease: setting ``listen.association_lease``, in seconds.
    """
    titles = {str(node.ae_title) for node in scanners}
    seen = {ae: one for ae, one in callers.heard(tx, lease).items() if ae in titles}
    study = next((one for one in studies.listing(tx, _LATEST) if one.source_ae in titles), None)
    last = max((one.seen_at for one in seen.values()), default=None)
    names = ", ".join(sorted(seen)) or ", ".join(sorted(titles))
    signs = [
        Sign(
            "A scanner connects",
            True if seen else None,
            f"{names} connected" if seen else f"send one study from {names} now",
            last,
        ),
        Sign(
            "Its images are on our disk",
            None if study is None else True,
            "each is answered 0000 once it is flushed and on record"
            if study is None
            else _content(study),
            None if study is None else study.last_received_at,
        ),
    ]
    if study is None:
        return [*signs, *_waiting()]
    complete = study.state is StudyState.COMPLETE or study.revision > 0
    signs.append(
        Sign(
            "The study is complete",
            True if complete else None,
            "it is complete" if complete else "its quiet time runs",
            study.completed_at,
        )
    )
    history = read_history(tx, study.study_instance_uid)
    latest = history.jobs[0] if history is not None and history.jobs else None
    state = None if latest is None else _JOB.get(latest.job.state)
    signs.append(Sign("It is analysed", state, _ANALYSED[state]))
    sent = [] if latest is None else [one.state for one in latest.deliveries]
    arrived = any(one in (DeliveryState.DELIVERED, DeliveryState.COMMITTED) for one in sent)
    dead = bool(sent) and all(one is DeliveryState.DEAD for one in sent)
    result = True if arrived else (False if dead else None)
    signs.append(Sign("The results are in the archive", result, _SENT[result]))
    return signs


def _content(study: Study) -> str:
    objects = "1 object" if study.instances == 1 else f"{study.instances} objects"
    return f"{objects} in {study.series} series, from {study.source_ae}"


def _waiting() -> list[Sign]:
    return [
        Sign("The study is complete", None, "when nothing came for its quiet time"),
        Sign("It is analysed", None, _ANALYSED[None]),
        Sign("The results are in the archive", None, _SENT[None]),
    ]
