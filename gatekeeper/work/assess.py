"""A study's files into one StudyAssessment: read, match, decode, detect, judge.

Each series is judged by itself and the study takes the gravest verdict. A series that no profile
covers is not assessed, whatever its shape; but slices or pixels that are missing are named in any
series, because then what was received is not the study that was made. A rule may leave out a
series, or name the bundle that judges it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gatekeeper.clinical.finding import ClinicalFinding
from gatekeeper.errors import UnreadableSeries
from gatekeeper.identifiers import Digest, Uid
from gatekeeper.lesions.finding import LesionFinding
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.rules.verdict import Judgement, Verdict, judge_finding, judge_study
from gatekeeper.work.explaining import Explainer
from gatekeeper.work.lesions import LesionScorer
from gatekeeper.work.messages import Request
from gatekeeper.work.protocol import Protocol
from gatekeeper.work.series import (
    Candidate,
    ReceivedSeries,
    candidates,
    check_complete,
    read_study,
)
from gatekeeper.work.stages import Stages
from gatekeeper.work.upright import upright
from gatekeeper.work.values import IncompleteSeries
from models.detector import Detector
from models.errors import ModelError, NotAssessable
from models.finding import Finding
from models.registry import BundleInfo, Registry
from models.volume import Volume
from storage import failpoint

MAXIMUM_VOLUMES = 4
"""Volumes in one series that are assessed; a series of more is a time course, not a scan."""


@dataclass(slots=True)
class _Budget:
    """What is left of the study's limits."""

    volumes: int
    voxels: int


def assess_study(
    request: Request,
    registry: Registry,
    detector_of: Callable[[BundleInfo], Detector],
    stages: Stages,
) -> StudyAssessment:
    """Return what is judged of the study.

    Args:
        request: the job and its limits.
        registry: the models in use.
        detector_of: returns a bundle's detector, loaded.
        stages: takes the time of each stage.

    Raises:
        ModelError: when a bundle cannot be used.
        ChildFailed, OSError: when the spool does not give what was received.
    """
    with stages.measure("read"):
        received = read_study(request.files, Path(request.scratch))
    failpoint.reached("child.read", request.study_instance_uid)
    budget = _Budget(request.maximum_series, request.maximum_voxels)
    explainer, problem = _explainer(request, received)
    with stages.measure("lesions"):
        scorer = _scorer(request, received)
    assessor = _Assessor(request, registry, detector_of, stages, budget, explainer, scorer)
    found = [item for series in received for item in assessor.assess(series)]
    found.sort(key=lambda item: item.finding is None)
    images = {series.series_instance_uid for series in received if series.images or series.problem}
    judgements = [item.judgement for item in found if item.source.series_instance_uid in images]
    # Where there is nothing to judge, as in a study of localizers, every series counts.
    everything = {series.series_instance_uid for series in received}
    rules = {request.skipped.get(uid, "") for uid in images or everything}
    left_out = () if "" in rules else tuple(sorted(rules))
    if left_out and not judgements:
        judgements = [item.judgement for item in found]
    return StudyAssessment(
        study_instance_uid=Uid(request.study_instance_uid),
        content_digest=Digest(request.content_digest),
        model_digest=request.model_digest,
        revision=request.revision,
        created_at=request.created_at,
        judgement=judge_study(judgements),
        false_hold_rate=request.false_hold_rate,
        reference_stands_in=request.reference_stands_in,
        series=tuple(found),
        ae_title=request.ae_title,
        institution=request.institution,
        heatmap_margin=request.heatmap_margin,
        series_number=request.series_number,
        earlier=request.earlier,
        left_out=left_out,
        measured=() if explainer is None else tuple(explainer.answer()),
        clinical_problem=problem or assessor.clinical_problem,
        lesion_problems=() if scorer is None else scorer.problems,
    )


def _scorer(request: Request, received: Sequence[ReceivedSeries]) -> LesionScorer | None:
    """Return what scores lesions; None: no bundle does."""
    if request.lesions is None:
        return None
    return LesionScorer(request.lesions, received, request.maximum_voxels)


def _explainer(
    request: Request, received: Sequence[ReceivedSeries]
) -> tuple[Explainer | None, str]:
    """Return what judges image and function together, or why it cannot; None: no bundle asks."""
    if request.clinical is None:
        return None, ""
    try:
        return Explainer(request.clinical, request.study_instance_uid, received), ""
    except ModelError as error:
        return None, str(error)


@dataclass(slots=True)
class _Assessor:
    request: Request
    registry: Registry
    detector_of: Callable[[BundleInfo], Detector]
    stages: Stages
    budget: _Budget
    explainer: Explainer | None
    scorer: LesionScorer | None
    clinical_problem: str = ""

    def assess(self, series: ReceivedSeries) -> Iterator[SeriesAssessment]:
        """Yield one assessment for each volume of the series, or one for the whole."""
        rule = self.request.skipped.get(series.series_instance_uid)
        if rule is not None:
            yield self._not_assessed(series, f"Not assessed: left out by rule '{rule}'.")
            return
        try:
            if series.problem is not None:
                raise UnreadableSeries(series.problem)
            if series.skipped is not None:
                yield self._not_assessed(series, f"Not assessed: {series.skipped}.")
                return
            named = self.request.models.get(series.series_instance_uid)
            wanted = any(self._wanted(protocol) for protocol in series.protocols)
            if not named and not wanted and not self._drawn_on(series):
                yield self._without_profile(series)
                return
            with self.stages.measure("geometry"):
                volumes = candidates(series)
        except UnreadableSeries as error:
            judgement = Judgement(Verdict.UNREADABLE, str(error))
            yield SeriesAssessment(series.source_series(), judgement)
            return
        if len(volumes) > MAXIMUM_VOLUMES:
            reason = f"Not assessed: {len(volumes)} volumes in one series."
            yield self._not_assessed(series, reason)
            return
        for candidate in volumes:
            yield self._volume(candidate)

    def _match(self, protocol: Protocol) -> BundleInfo | None:
        return self.registry.match(protocol.modality, protocol.body_part, protocol.sequence)

    def _wanted(self, protocol: Protocol) -> bool:
        return self._match(protocol) is not None or self._explains(protocol)

    def _explains(self, protocol: Protocol) -> bool:
        return self.explainer is not None and self.explainer.fits(protocol)

    def _explained(self, candidate: Candidate, volume: Volume | None) -> ClinicalFinding | None:
        if self.explainer is None or volume is None or not self._explains(candidate.protocol):
            return None
        try:
            with self.stages.measure("clinical"):
                return self.explainer.explain(volume)
        except ModelError as error:
            self.clinical_problem = str(error)
            return None

    def _drawn_on(self, series: ReceivedSeries) -> bool:
        return self.scorer is not None and self.scorer.drawn_on(series)

    def _lesions(
        self, candidate: Candidate, volume: Volume | None, finding: Finding | None
    ) -> LesionFinding | None:
        if self.scorer is None or volume is None:
            return None
        series, header = candidate.series, candidate.images[0].source.header
        with self.stages.measure("lesions"):
            return self.scorer.score(
                str(series.series_instance_uid), header, candidate.protocol, volume, finding
            )

    def _own_rate(self, info: BundleInfo, protocol: Protocol) -> float | None:
        """Return the false-hold rate of the profile that a bundle answers for, if it has one."""
        wanted = (protocol.modality, protocol.body_part, protocol.sequence)
        for one in self.registry.answering:
            if one.info.name == info.name and one.profile.matches(*wanted):
                return self.request.false_hold_rates.get(str(one.profile.key))
        return self.request.false_hold_rates.get(str(info.profile.key))

    def _named(self, name: str) -> BundleInfo | None:
        found = [info for info in self.registry.bundles() if info.name == name]
        return found[0] if found else None

    def _not_assessed(self, series: ReceivedSeries, reason: str) -> SeriesAssessment:
        return SeriesAssessment(series.source_series(), Judgement(Verdict.UNCALIBRATED, reason))

    def _without_profile(self, series: ReceivedSeries) -> SeriesAssessment:
        with self.stages.measure("geometry"):
            try:
                check_complete(series)
            except IncompleteSeries:
                raise
            except UnreadableSeries:
                pass  # Localizers, time courses and projections have no volume, and need none.
        return self._not_assessed(series, _no_profile(series.protocols[0]))

    def _volume(self, candidate: Candidate) -> SeriesAssessment:
        source = candidate.source_series()
        named = self.request.models.get(candidate.series.series_instance_uid)
        info = self._named(named) if named else self._match(candidate.protocol)
        unmatched = ""
        if info is None or info.profile.modality != candidate.protocol.modality:
            unmatched = _unfit(named, info) if named else _no_profile(candidate.protocol)
            info = None
            if not self._explains(candidate.protocol) and not self._drawn_on(candidate.series):
                return SeriesAssessment(source, Judgement(Verdict.UNCALIBRATED, unmatched))
        limit = self._limit_reached(candidate)
        if limit is not None:
            return SeriesAssessment(source, Judgement(Verdict.UNCALIBRATED, limit))
        volume: Volume | None = None
        finding: Finding | None = None
        own_rate: float | None = None
        try:
            with self.stages.measure("decode"):
                volume = candidate.decode(self.request.maximum_voxels)
            self.budget.volumes -= 1
            self.budget.voxels -= candidate.voxels
            if info is None:
                judgement = Judgement(Verdict.UNCALIBRATED, unmatched)
            else:
                finding = self._detect(info, volume)
                own_rate = self._own_rate(info, candidate.protocol)
                judgement = judge_finding(
                    finding,
                    self.request.false_hold_rate if own_rate is None else own_rate,
                    reference_stands_in=self.request.reference_stands_in,
                )
        except UnreadableSeries as error:
            judgement = Judgement(Verdict.UNREADABLE, str(error))
        except NotAssessable as refusal:
            judgement = Judgement(Verdict.UNCALIBRATED, f"Not assessed: {_sentence(refusal)}")
        explained = self._explained(candidate, volume)
        lesions = self._lesions(candidate, volume, finding)
        return SeriesAssessment(source, judgement, volume, finding, own_rate, explained, lesions)

    def _limit_reached(self, candidate: Candidate) -> str | None:
        """Return why the study's limits leave this volume out; too large alone is UNREADABLE."""
        if self.budget.volumes < 1:
            return f"Not assessed: the limit of {self.request.maximum_series} series was reached."
        if self.budget.voxels < candidate.voxels <= self.request.maximum_voxels:
            return (
                f"Not assessed: the limit of {self.request.maximum_voxels:,} voxels for the "
                "study was reached."
            )
        return None

    def _detect(self, info: BundleInfo, volume: Volume) -> Finding:
        with self.stages.measure("model"):
            detector = self.detector_of(info)
        with self.stages.measure("detect"):
            failpoint.reached("child.detect", self.request.study_instance_uid)
            seen = upright(volume, self.request.maximum_voxels)
            finding = detector.detect(seen.volume)
        _check_finding(finding, seen.volume)
        return seen.on_source(finding)


def _no_profile(protocol: Protocol) -> str:
    return f"Not assessed: no profile for {protocol}."


def _unfit(name: str, info: BundleInfo | None) -> str:
    why = "is not installed" if info is None else f"judges {info.profile.modality} only"
    return f"Not assessed: the bundle {name} that a rule names {why}."


def _sentence(refusal: NotAssessable) -> str:
    reason = refusal.reason.strip()
    return reason if reason.endswith(".") else reason + "."


def _check_finding(finding: Finding, volume: Volume) -> None:
    """Raise when an answer is no answer: NaN is UNREADABLE, a map of another grid is a defect."""
    if finding.map.shape != volume.array.shape:
        raise ModelError("the detector's map is not on the source grid")
    scores = [finding.score, finding.p_value]
    scores += [value for level in finding.levels for value in (level.score, level.p_value)]
    if not all(math.isfinite(value) for value in scores) or not np.isfinite(finding.map).all():
        raise UnreadableSeries("The model's answer on these images is not a finite number.")
