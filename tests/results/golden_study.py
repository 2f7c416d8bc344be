"""The study of the golden files: five slices and two regions, of numbers that add up exactly.

Everything in it is a small multiple of a power of two, so no library's rounding is in the results.
The matrix is wide enough for the legend and its pixels are square: nothing is enlarged.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from work.phantoms import STUDY, image

from gatekeeper.identifiers import Digest, Uid
from gatekeeper.results.assessment import (
    SeriesAssessment,
    SourceSeries,
    SourceSlice,
    StudyAssessment,
)
from gatekeeper.rules.verdict import Judgement, Verdict, judge_finding, judge_study
from models.finding import Finding, Level, Region
from models.volume import Volume

SHAPE = (5, 32, 256)
_STEP_MM = 2.0
_LARGE = (slice(1, 3), slice(8, 16), slice(32, 48))
_SMALL = (slice(3, 4), slice(20, 26), slice(200, 208))
_SPOT = (0, slice(4, 8), slice(100, 108))
"""Above the threshold, on a slice without a region: colour without a number beside it."""


def assessed_study() -> StudyAssessment:
    """Return a suspect study of one series."""
    slices = [_slice(index) for index in range(SHAPE[0])]
    array = np.stack([one.pixel_array for one in slices]).astype(np.float32)
    affine = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [_STEP_MM, 0, 0, 0], [0, 0, 0, 1.0]])
    volume = Volume(array, affine, "MR", "BRAIN", "T1")
    headers = tuple(_without_pixels(one) for one in slices)
    source = SourceSeries(
        Uid(headers[0].SeriesInstanceUID), headers, tuple(SourceSlice(one) for one in headers)
    )
    finding = _finding(volume)
    series = SeriesAssessment(source, judge_finding(finding, 0.0625), volume, finding)
    return StudyAssessment(
        study_instance_uid=Uid(STUDY),
        content_digest=Digest.of(b"content"),
        model_digest=Digest.of(b"models"),
        revision=1,
        created_at=1_760_000_000.25,
        judgement=judge_study([series.judgement]),
        false_hold_rate=0.0625,
        series=(series,),
        ae_title="GATEKEEPER",
        institution="St. Göran",
    )


def unassessed_study() -> StudyAssessment:
    """Return the same study where no series could be assessed."""
    study = assessed_study()
    judgement = Judgement(Verdict.UNCALIBRATED, "Not assessed: no profile for this kind of scan.")
    series = SeriesAssessment(study.series[0].source, judgement)
    return replace(study, judgement=judge_study([judgement]), series=(series,))


def _slice(index: int) -> Dataset:
    return image(
        index,
        description="t1_mprage_tra",
        number=4,
        shape=SHAPE[1:],
        position=(0.0, 0.0, _STEP_MM * index),
        PixelSpacing=[1.0, 1.0],
        SliceThickness=2.0,
        SpacingBetweenSlices=2.0,
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        PatientBirthDate="19700101",
        PatientSex="M",
        PatientAge="054Y",
        IssuerOfPatientID="HOSPITAL",
        AccessionNumber="A-0815",
        StudyID="S1",
        StudyDescription="Head",
        TimezoneOffsetFromUTC="+0900",
        PositionReferenceIndicator="",
        BodyPartExamined="BRAIN",
        PatientPosition="HFS",
        WindowCenter=256,
        WindowWidth=512,
    )


def _finding(volume: Volume) -> Finding:
    values = np.zeros(SHAPE, np.float32)
    values[_LARGE] = 4.0
    values[1, 10:14, 36:44] = 8.0
    values[_SMALL] = 5.0
    values[_SPOT] = 3.5
    return Finding(
        score=64.5,
        p_value=0.0625,
        levels=(
            Level("global", "Are the image features like the reference's?", 64.5, 0.0625, 15, 40.5),
            Level("focal", "Is every place like the same place?", 8.0, 0.25, 15, 4.0),
        ),
        map=values,
        map_unit="robust z-score",
        map_threshold=3.0,
        map_maximum=8.0,
        regions=(_region(volume, values, _LARGE, 1), _region(volume, values, _SMALL, 2)),
        display_window=(256.0, 512.0),
        detector="features",
        profile="mr-brain-t1",
        bundle_version="0.1.0",
        model_digest=Digest.of(b"bundle"),
        calibration_digest=Digest.of(b"calibration"),
        calibration_description="15 phantoms.",
        milliseconds={"map": 1.0},
    )


def _region(
    volume: Volume, values: NDArray[np.float32], box: tuple[slice, slice, slice], label: int
) -> Region:
    """Return the region that fills a box."""
    inside = values[box]
    first, top, left = (part.start for part in box)
    last, bottom, right = (part.stop - 1 for part in box)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return Region(
        label=label,
        volume_mm3=float(inside.size * volume.voxel_mm3),
        centre=volume.to_patient(((first + last) / 2, (top + bottom) / 2, (left + right) / 2)),
        peak=float(inside.max()),
        mean=float(inside.mean()),
        slice_index=first,
        outline=np.array(corners, np.float64),
        mask=np.ones(inside.shape, np.bool_),
        mask_offset=(first, top, left),
    )


def _without_pixels(header: Dataset) -> Dataset:
    kept = Dataset()
    kept.update({element.tag: element for element in header if element.keyword != "PixelData"})
    return kept
