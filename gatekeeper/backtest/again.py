"""Again: a past study analysed by other models, in the same limited child as live ones.

Nothing is settled, sent or told, and no result object is made.
"""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from gatekeeper.backtest.candidate import Candidate
from gatekeeper.backtest.replay import NotReplayable, content_of
from gatekeeper.backtest.stored import StoredStudy, stored_study
from gatekeeper.configuration import choice
from gatekeeper.configuration.judging import Judging
from gatekeeper.errors import ChildFailed
from gatekeeper.settings import Settings
from gatekeeper.work.messages import ANSWER, Answer
from gatekeeper.work.process import Child, ChildStopped
from gatekeeper.work.request import request_for
from models.activation import ProfileKey
from storage import jobs
from storage.engine import Database
from storage.records import Outcome
from storage.spool import Spool


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a candidate.

    Attributes:
        directories: folders of bundles.
        choice: the bundle by profile.
        digest: of the set, as jobs name it.
    """

    directories: tuple[Path, ...]
    choice: Mapping[ProfileKey, str]
    digest: str


def models_of(tx: Connection, candidate: Candidate, settings: Settings) -> Models:
    """Return the models that a candidate means on this machine.

    Raises:
        ModelError: if a profile is none, or a bundle of it is not installed.
    """
    registry = candidate.registry(tx, settings)
    for name in (candidate.models or {}).values():
        if name:
            registry.get(name)
    chosen = candidate.choice(tx, settings)
    return Models(candidate.directories(settings), chosen, registry.digest)


def other_models(tx: Connection, candidate: Candidate, settings: Settings) -> Models | None:
    """Return the models of a candidate where they are not those in force; raises as `models_of`."""
    if candidate.models is None:
        return None
    found = models_of(tx, candidate, settings)
    return None if found.digest == choice.registry(tx, settings).digest else found


@dataclass(slots=True)
class Again:
    """Analyses past studies with other models.

    Attributes:
        database: with the jobs.
        spool: with the files.
        settings: of the site, with the candidate's policy.
        models: the candidate's.
        child: that analyses; the caller stops it.
        cancelled: set to stop.
    """

    database: Database
    spool: Spool
    settings: Settings
    models: Models
    child: Child
    cancelled: threading.Event

    def study(self, study: StoredStudy) -> StoredStudy:
        """Return what the models say of a study.

        Raises:
            NotReplayable: if its files are gone or changed, or the analysis failed.
            ChildStopped: if it was cancelled.
        """
        outcome = self.outcome(study)
        return stored_study(study.study_instance_uid, study.content_digest, outcome)

    def outcome(self, study: StoredStudy) -> Outcome:
        """Return the outcome that a job under these models would have; raises as `study` does."""
        _, content = content_of(self.database, study)
        with self.database.read() as tx:
            job = jobs.existing(tx, study.job_id)
        with tempfile.TemporaryDirectory(prefix="gatekeeper-again-") as folder:
            scratch = Path(folder)
            request = request_for(
                dataclasses.replace(job, model_digest=self.models.digest),
                content,
                self.spool,
                scratch,
                Judging(self.settings, self.models.choice, {}),
                (),
                (),
            )
            request = dataclasses.replace(
                request,
                objects={},
                bundles=tuple(str(path.absolute()) for path in self.models.directories),
            )
            written = scratch / "request.json"
            request.write(written)
            answer = self._answer(written, scratch)
        return Outcome(
            job_id=study.job_id,
            verdict=answer.verdict,
            reason=answer.reason,
            score=answer.score,
            p_value=answer.p_value,
            evidence=answer.evidence,
            stages=answer.stages,
            created_at=study.at,
        )

    def _answer(self, request: Path, scratch: Path) -> Answer:
        work = self.settings.work
        try:
            reply = self.child.ask(request, work.cpu_seconds, work.wall_seconds, self.cancelled)
            if "models" in reply:
                raise NotReplayable("the models changed while it was analysed")
            return Answer.read(scratch / ANSWER)
        except ChildStopped:
            raise
        except (ChildFailed, OSError) as error:
            detail = str(error) if isinstance(error, ChildFailed) else "the scratch folder failed"
            raise NotReplayable(f"the analysis failed: {detail}") from None
