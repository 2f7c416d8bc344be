"""Kept answers: a file of JSON lines, so that an interrupted backtest of a model goes on.

An answer is kept under its job, content and models; others in the file are passed over.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from gatekeeper.backtest.again import Again
from gatekeeper.backtest.stored import StoredStudy, stored_study
from storage.records import Outcome
from storage.settled import Settled


class Keeping:
    """Answers of other models, from the file or analysed.

    Args:
        again: that analyses.
        path: of the file; None to keep nothing.
    """

    def __init__(self, again: Again, path: Path | None) -> None:
        self._again = again
        self._path = path
        self._known: dict[tuple[int, str, str], Outcome] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._read(line)

    def answer(self, row: Settled, study: StoredStudy) -> StoredStudy:
        """Return what the models say of a study; raises as `Again.study` does."""
        key = (study.job_id, study.content_digest, self._again.models.digest)
        outcome = self._known.get(key)
        if outcome is None:
            outcome = self._again.outcome(study)
            self._write(key, outcome)
        return stored_study(row.study_instance_uid, row.content_digest, outcome)

    def _read(self, line: str) -> None:
        try:
            found = cast("dict[str, Any]", json.loads(line))
            job, content, models = found["key"]
            self._known[int(job), str(content), str(models)] = Outcome(**found["outcome"])
        except (LookupError, TypeError, ValueError):
            return  # The last line of an interrupted run may be half a line.

    def _write(self, key: tuple[int, str, str], outcome: Outcome) -> None:
        if self._path is None:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "outcome": asdict(outcome)}) + "\n")
