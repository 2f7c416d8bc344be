"""Past studies made for tests: outcomes as workers keep them, with evidence of chosen p-values."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gatekeeper.assemble.content import content_digest
from gatekeeper.backtest.stored import Kept
from gatekeeper.rules.verdict import Judgement, Verdict, judge_finding, judge_study
from models.finding import Level
from storage import instances, jobs, studies
from storage.engine import Database
from storage.records import Instance, Outcome
from storage.spool import Spool

MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
SKYRA, PRISMA = "SIEMENS SKYRA 3T", "SIEMENS PRISMA 3T"


@dataclass(frozen=True)
class Series:
    """One judged series; without a p-value, one that no detector scored."""

    p_value: float | None = 0.5
    size: int = 99
    defects: tuple[str, ...] = ()
    own: bool = True
    device: str = SKYRA
    protocol: str = "T1_MPRAGE"
    verdict: Verdict = Verdict.UNREADABLE

    @property
    def kept(self) -> Kept | None:
        if self.p_value is None:
            return None
        level = Level("global", "Is it like the reference?", 1.0, self.p_value, self.size, 1.0)
        return Kept(self.p_value, 1.0, (level,), self.defects, self.own)

    def judged(self, rate: float, *, stands_in: bool = True) -> Judgement:
        kept = self.kept
        if kept is None:
            return Judgement(self.verdict, f"Because it is {self.verdict}.")
        return judge_finding(kept, rate, reference_stands_in=stands_in)


def evidence(
    series: Sequence[Series], rate: float = 0.05, *, stands_in: bool = True, uid: str = "1.2.3"
) -> dict[str, Any]:
    """Return evidence as `gatekeeper.work.summary` keeps it."""
    return {
        "false_hold_rate": rate,
        "reference_stands_in": stands_in,
        "series": [
            _series(one, f"{uid}.{number}", rate, stands_in=stands_in)
            for number, one in enumerate(series, 1)
        ],
    }


def outcome(
    series: Sequence[Series], rate: float = 0.05, *, stands_in: bool = True, job: int = 1
) -> Outcome:
    """Return an outcome, its verdict the gravest of its series'."""
    study = judge_study([one.judged(rate, stands_in=stands_in) for one in series])
    p_values = [one.p_value for one in series if one.p_value is not None]
    return Outcome(
        job_id=job,
        verdict=str(study.verdict),
        reason=study.reason,
        score=1.0 if p_values else None,
        p_value=min(p_values, default=None),
        evidence=evidence(series, rate, stands_in=stands_in),
        created_at=1000.0,
    )


def _series(one: Series, uid: str, rate: float, *, stands_in: bool) -> dict[str, Any]:
    judgement = one.judged(rate, stands_in=stands_in)
    found: dict[str, Any] = {
        "series_instance_uid": uid,
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "origin": {"device": one.device, "protocol": one.protocol},
    }
    kept = one.kept
    if kept is not None:
        found |= {
            "score": kept.score,
            "p_value": kept.p_value,
            "levels": [dataclasses.asdict(level) for level in kept.levels],
            "profile": "mr-brain-t1",
            "bundle_version": "1",
            "calibration_digest": "c" * 64,
            "calibration_size": one.size,
            "realised_rate": [0.0165, 0.1002],
            "site_calibrated": kept.site_calibrated,
            "defects": list(kept.defects),
        }
    return found


@dataclass
class Archive:
    """A database with judged studies, each with a file in the spool."""

    database: Database
    folder: Path
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def spool(self) -> Spool:
        return Spool(self.folder / "spool")

    def judged(self, *series: Series, rate: float = 0.05, modality: str = "MR") -> int:
        """Receive, complete and settle one study; return its job."""
        study = f"1.2.826.0.1.19.{next(self.numbers)}"
        kept = self.spool.store(f"image of {study}".encode())
        instance = Instance(
            sop_instance_uid=f"{study}.1.1",
            sop_class_uid=MR,
            transfer_syntax_uid=EXPLICIT,
            study_instance_uid=study,
            series_instance_uid=f"{study}.1",
            modality=modality,
            digest=kept.digest,
            size=kept.size,
            source_ae="SCANNER",
        )
        with self.database.begin() as tx:
            instances.record(tx, instance, None)
        with self.database.begin() as tx:
            found = studies.get(tx, study)
            assert found is not None
            content = content_digest(instances.of_study(tx, study))
            assert studies.complete(tx, study, content, found.last_received_at) is not None
            job = jobs.enqueue(tx, study, content, "m" * 64, 1)
            assert job is not None
            claimed = jobs.claim(tx, "test", 600)
            assert claimed is not None
            result = outcome(series, rate)
            assert jobs.settle(tx, claimed.id, claimed.attempt, result, [], [])
        return claimed.id

    def judge_all(self, p_values: Iterable[float], **fields: Any) -> list[int]:
        """Settle one study of one series a p-value."""
        return [self.judged(Series(p_value, **fields)) for p_value in p_values]
