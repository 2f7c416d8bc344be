"""No header, however broken, keeps a study from its answer."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from gatekeeper.results.assessment import SourceSeries, SourceSlice, StudyAssessment
from gatekeeper.results.capture import heatmap_series
from gatekeeper.results.common import to_bytes
from gatekeeper.results.key_objects import key_objects
from gatekeeper.results.montage import montage
from gatekeeper.results.page import contact_sheet, report_html
from gatekeeper.results.plain_report import plain_report
from gatekeeper.results.presentation import presentation_states
from gatekeeper.results.report import report

RUBBISH = (
    b"",
    b"\0",
    b"abc",
    b"-1",
    b"99999999999999999999",
    b"1e400",
    b"nan",
    b"1\\2\\3",
    b"\\",
    b"\xff\xfe\x80",
    b"A" * 300,
    b"0.1234567890123456789012",
    b"ISO 2022 IR 87\\foo",
    b"\x1b$B!!",
    b"^^^^=====",
    b"1..2",
    b"<b>&",
)
KEYWORDS = [
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PregnancyStatus",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "TimezoneOffsetFromUTC",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "BodyPartExamined",
    "Laterality",
    "InstanceNumber",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PhotometricInterpretation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "AcquisitionDate",
    "AcquisitionNumber",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "RecognizableVisualFeatures",
    "RescaleSlope",
    "RescaleIntercept",
    "BitsStored",
    "PixelRepresentation",
]


@pytest.fixture(scope="module")
def small(mni_slices: Sequence[Dataset], assess: Any) -> StudyAssessment:
    """Return an assessment of two slices."""
    return assess(mni_slices[11:13])


def broken(study: StudyAssessment, values: dict[str, bytes]) -> StudyAssessment:
    """Return the study with these bytes in every header, as they come out of a file."""
    (series,) = study.series
    headers: list[Dataset] = []
    for part in series.source.slices:
        header = Dataset()
        header.update(part.header)
        for keyword, value in values.items():
            vr = dictionary_VR(keyword)
            data = value[: len(value) // 2 * 2] if vr == "US" else value
            raw = RawDataElement(Tag(keyword), vr, len(data), data, 0, False, True)
            header[Tag(keyword)] = raw
        headers.append(header)
    slices = tuple(SourceSlice(header) for header in headers)
    source = SourceSeries(series.source.series_instance_uid, tuple(headers), slices)
    return replace(study, series=(replace(series, source=source),))


def further(study: StudyAssessment) -> list[Dataset | None]:
    """Return the other objects of a study's first series."""
    (series,) = study.series
    overview, state = montage(study, series), presentation_states(study, series)
    return [overview, state, key_objects(study, series, overview, state), plain_report(study)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(24))
def test_rubbish_in_a_header_stops_no_result(small: StudyAssessment, seed: int) -> None:
    """Every result is made, can be written and read back, and names its study and source."""
    chance = random.Random(seed)
    rubbish = {keyword: chance.choice(RUBBISH) for keyword in chance.sample(KEYWORDS, 12)}
    study = broken(small, rubbish)
    (series,) = study.series
    unread = replace(study, series=(replace(series, volume=None, finding=None),))

    images = heatmap_series(study, series)
    documents = [report(study), report(unread), *further(study)]

    assert len(images) == 2
    assert contact_sheet(images)
    for made in (*images, *documents):
        assert made is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = dcmread(io.BytesIO(to_bytes(made)))
            assert read.StudyInstanceUID == study.study_instance_uid
            assert str(read)
        if read.Modality == "SR":
            assert report_html(read)


def test_rubbish_in_every_attribute_at_once_stops_no_result(small: StudyAssessment) -> None:
    """A header of nothing but rubbish still gets its answer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for value in RUBBISH:
            study = broken(small, dict.fromkeys(KEYWORDS, value))

            assert [to_bytes(image) for image in heatmap_series(study, study.series[0])]
            for made in (report(study), *further(study)):
                assert made is not None
                assert to_bytes(made)
