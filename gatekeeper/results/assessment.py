"""What the results are made from: the study, its series, and what was judged of each.

Everything a result object says comes from here, so that a second run on the same job gives the
same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset

from gatekeeper.clinical.finding import ClinicalFinding
from gatekeeper.identifiers import Digest, Uid
from gatekeeper.lesions.finding import LesionFinding
from gatekeeper.results.catalogue import Catalogue, english
from gatekeeper.results.earlier import EarlierReport
from gatekeeper.rules.verdict import Judgement
from models.finding import Finding
from models.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class SourceSlice:
    """One plane of the volume: the instance it came from and, for multi-frame, the frame in it.

    Attributes:
        header: the instance's data set without pixel data; shared by frames of one instance.
        frame: 1-based frame number, None for a single-frame instance.
    """

    header: Dataset
    frame: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SourceSeries:
    """One series as received: all its instances, and the slices in the volume's order.

    Attributes:
        series_instance_uid: its UID.
        headers: every instance's data set without pixel data, sorted by SOP Instance UID.
        slices: the volume's planes in array order; empty when no volume could be built.
        lossy: whether any instance was lossily compressed (LossyImageCompression 01).
    """

    series_instance_uid: Uid
    headers: tuple[Dataset, ...]
    slices: tuple[SourceSlice, ...] = ()
    lossy: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SeriesAssessment:
    """One series with what was judged of it.

    `volume` and `finding` are None when the series could not be read or has no profile.
    `clinical` is what image and function together say, which decides nothing; None where no
    bundle asks; `lesions` says how likely each is malignant, and decides nothing either.
    `false_hold_rate` is that of the series' profile; None where it is the study's.
    """

    source: SourceSeries
    judgement: Judgement
    volume: Volume | None = None
    finding: Finding | None = None
    false_hold_rate: float | None = None
    clinical: ClinicalFinding | None = None
    lesions: LesionFinding | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StudyAssessment:
    """One job's answer on one study.

    Attributes:
        study_instance_uid: the study.
        content_digest: digest of the content that was analysed.
        model_digest: digest of the set of models in use.
        revision: 1 for the first complete content, more when instances came late.
        created_at: the job's creation, seconds since epoch UTC; every date in the results is
            drawn from it.
        judgement: the study's verdict and reason.
        false_hold_rate: the stated rate that the verdict rests on, but for series of a profile
            with a rate of its own; see `rate_of`.
        series: each series of the study; the assessed ones first.
        ae_title: our own AE title.
        institution: InstitutionName for the results, may be empty.
        heatmap_margin: slices to each side of a flagged one that get a heatmap with it; None where
            every slice gets one.
        series_number: SeriesNumber of the report; heatmap series count on from it.
        earlier: the reports of the latest job on this study before this one.
        words: the texts of the language that the results are in.
        left_out: rules that together left out every image series; then there are no results.
        reference_stands_in: whether a bundle's own reference population may decide about a scan
            whose scanner and protocol have no calibration.
        measured: what the study's reports measured, as JSON; for the worker to keep.
        clinical_problem: why the multimodal bundle could not be asked; empty where it was, or
            none is set. It explains and decides nothing, so a broken one stops no verdict.
        lesion_problems: what could not be scored for malignancy and why, in English sentences.
    """

    study_instance_uid: Uid
    content_digest: Digest
    model_digest: str
    revision: int
    created_at: float
    judgement: Judgement
    false_hold_rate: float
    series: tuple[SeriesAssessment, ...]
    ae_title: str
    institution: str = ""
    heatmap_margin: int | None = None
    series_number: int = 9100
    earlier: tuple[EarlierReport, ...] = ()
    words: Catalogue = field(default_factory=english)
    left_out: tuple[str, ...] = ()
    reference_stands_in: bool = True
    measured: tuple[Mapping[str, Any], ...] = ()
    clinical_problem: str = ""
    lesion_problems: tuple[str, ...] = ()

    def rate_of(self, series: SeriesAssessment) -> float:
        """Return the stated false-hold rate that a series' verdict rests on."""
        own = series.false_hold_rate
        return self.false_hold_rate if own is None else own
