"""Asking: what is to be drawn of a study, put together from its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gatekeeper.history import JobHistory, StudyHistory
from gatekeeper.settings import ViewingSettings
from gatekeeper.viewing.request import Bounds, ResultFile, SourceFile, ViewRequest
from storage import instances
from storage.engine import Transaction
from storage.records import Instance
from storage.spool import Spool

_SHOWN = ("parametric-map", "heatmap")


@dataclass(frozen=True, slots=True)
class Shown:
    """One series that can be looked at.

    Attributes:
        uid: Series Instance UID.
        instances: of it whose files are here.
        finding: its part of the evidence; empty when nothing was found of it.
        modality: as received.
    """

    uid: str
    instances: tuple[Instance, ...]
    modality: str
    finding: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def title(self) -> str:
        """What it is called in a list."""
        return str(self.finding.get("protocol") or self.modality or "Series")


def shown_series(tx: Transaction, history: StudyHistory) -> list[Shown]:
    """Return the series of a study whose files are here: what decided first, then the largest.

    Args:
        tx: an open transaction.
        history: of the study.
    """
    groups: dict[str, list[Instance]] = {}
    for one in instances.of_study(tx, history.study.study_instance_uid):
        if one.removed_at is None:
            groups.setdefault(one.series_instance_uid, []).append(one)
    found = _findings(judged_job(history))
    series = [
        Shown(uid, tuple(group), group[0].modality, found.get(uid, {}))
        for uid, group in groups.items()
    ]
    return sorted(series, key=_order)


def judged_job(history: StudyHistory) -> JobHistory | None:
    """Return the latest job with an outcome."""
    return next((one for one in history.jobs if one.outcome is not None), None)


def view_request(
    history: StudyHistory, series: Shown, spool: Spool, settings: ViewingSettings
) -> ViewRequest:
    """Return what is to be drawn of a series, with the map of the latest job on the study."""
    job = judged_job(history)
    made = () if job is None or "map" not in series.finding else job.results
    language = next((one.language for one in made if one.kind == "heatmap"), "")
    return ViewRequest(
        study_instance_uid=history.study.study_instance_uid,
        series_instance_uid=series.uid,
        files=tuple(
            SourceFile(
                one.sop_instance_uid,
                one.sop_class_uid,
                one.series_instance_uid,
                one.transfer_syntax_uid,
                one.digest,
                str(spool.path(one.digest).absolute()),
            )
            for one in series.instances
        ),
        results=tuple(
            ResultFile(one.kind, one.digest, str(spool.path(one.digest).absolute()))
            for kind in _SHOWN
            for one in made
            if one.kind == kind and (kind != "heatmap" or one.language == language)
        ),
        finding={
            name: series.finding[name]
            for name in ("grid", "map", "regions")
            if name in series.finding
        },
        bounds=Bounds(settings.maximum_slices, settings.maximum_voxels, settings.cpu_seconds),
    )


def _findings(job: JobHistory | None) -> dict[str, Mapping[str, Any]]:
    """Return what was found, by series: of several volumes of one the one that was judged."""
    evidence: Sequence[Mapping[str, Any]] = ()
    if job is not None and job.outcome is not None:
        evidence = job.outcome.evidence.get("series", ())
    found: dict[str, Mapping[str, Any]] = {}
    for one in evidence:
        uid = str(one.get("series_instance_uid", ""))
        if uid not in found or _p_value(one) < _p_value(found[uid]):
            found[uid] = one
    return found


def _order(series: Shown) -> tuple[float, int, str]:
    return _p_value(series.finding), -len(series.instances), series.uid


def _p_value(finding: Mapping[str, Any]) -> float:
    found = finding.get("p_value")
    return 2.0 if found is None else float(found)
