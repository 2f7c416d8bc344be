"""Every odd file that others have collected gets an answer: an outcome and, mostly, a report."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import data_store
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from work.phantoms import STUDY, stored

from gatekeeper.errors import UnreadableSeries
from gatekeeper.results.common import to_bytes
from gatekeeper.results.report import report
from gatekeeper.rules.verdict import Verdict
from gatekeeper.work.assess import assess_study
from gatekeeper.work.messages import ReceivedFile, Request
from gatekeeper.work.series import candidates, read_series
from gatekeeper.work.source import Source, quiet
from gatekeeper.work.stages import Stages
from gatekeeper.work.summary import evidence
from models.detector import Detector
from models.registry import BundleInfo, Registry

FOLDERS = [
    Path(pydicom.__file__).parent / "data" / "test_files",
    Path(data_store.__file__).parent / "data",
]
FILES = sorted(
    path
    for folder in FOLDERS
    for path in folder.rglob("*")
    if path.is_file() and path.suffix not in {".py", ".pyc", ".txt", ".json", ".icc", ".gz"}
)


def no_detector(info: BundleInfo) -> Detector:
    raise AssertionError(f"no file of the corpus makes a volume for {info.name}")


def record(path: Path, folder: Path) -> ReceivedFile | None:
    """Return the file as a listener would record it, None when no listener could."""
    content = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = dcmread(path, stop_before_pixels=True, force=True)
            known = {
                "sop_instance_uid": str(header.SOPInstanceUID),
                "sop_class_uid": str(header.SOPClassUID),
                "series_instance_uid": str(header.get("SeriesInstanceUID", "1.2.3")),
                "transfer_syntax_uid": str(header.file_meta.TransferSyntaxUID),
            }
        except (AttributeError, KeyError, EOFError):
            return None
    return stored(content, folder, **known)


def request(file: ReceivedFile, folder: Path) -> Request:
    return Request(
        job=1,
        attempt=1,
        study_instance_uid=STUDY,
        content_digest="a" * 64,
        model_digest="b" * 64,
        revision=1,
        created_at=1_700_000_000.0,
        files=(file,),
        scratch=str(folder),
        bundles=(),
        device="cpu",
        threads=1,
        maximum_voxels=10_000_000,
        maximum_series=8,
        cpu_seconds=60,
        false_hold_rate=0.05,
        ae_title="GATEKEEPER",
        institution="",
        series_number=9100,
    )


def test_every_file_gets_an_answer(tmp_path: Path) -> None:
    """Each file as a study of its own is judged, summed up as JSON, and reported if an image."""
    answered = 0
    for path in FILES:
        file = record(path, tmp_path)
        if file is None:
            continue
        with quiet():
            found = assess_study(request(file, tmp_path), Registry(), no_detector, Stages())
            document = report(found)
            content = b"" if document is None else to_bytes(document)
        answered += 1

        assert found.judgement.verdict in {Verdict.UNCALIBRATED, Verdict.UNREADABLE}, path
        assert found.judgement.reason.endswith("."), path
        assert evidence(found)["series"], path
        assert document is None or content[128:132] == b"DICM", path
    assert answered > 200


def test_every_image_decodes_as_its_library_says_or_is_named(tmp_path: Path) -> None:
    """Three copies of each image, stacked, hold the values that the library decodes by itself."""
    compared = 0
    for path in FILES:
        file = record(path, tmp_path)
        with quiet():
            series = None if file is None else read_series("1.2.3", [file], tmp_path)
            if series is None or not series.images:
                continue
            try:
                (candidate,) = candidates(replace(series, images=_stack(series.images[0])))
                found = candidate.decode(4_000_000).array[1]
            except UnreadableSeries as error:
                assert str(error).endswith("."), path
                continue
            expected, padding = _by_library(path)
        compared += 1
        assert np.isclose(found[~padding], expected[~padding], rtol=1e-6, atol=1e-3).all(), path
    assert compared > 35


def _stack(source: Source) -> tuple[Source, ...]:
    stack: list[Source] = []
    for index in range(3):
        header = Dataset()
        header.update(source.header)
        header.file_meta = source.header.file_meta
        for keyword, value in (
            ("ImagePositionPatient", [0, 0, index]),
            ("ImageOrientationPatient", [1, 0, 0, 0, 1, 0]),
            ("PixelSpacing", [1, 1]),
        ):
            if keyword in header:
                delattr(header, keyword)
            setattr(header, keyword, value)
        stack.append(replace(source, header=header, sop_instance_uid=f"1.2.{index}"))
    return tuple(stack)


def _by_library(path: Path) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the image's modality values by the library alone, and where it is padding."""
    dataset = dcmread(path)
    stored_values = dataset.pixel_array.astype(np.float64)
    padding = np.zeros(stored_values.shape, dtype=bool)
    if "PixelPaddingValue" in dataset:
        bits = int(dataset.BitsAllocated)
        value = int(dataset.PixelPaddingValue)
        padding = (stored_values == value) | (stored_values == value - (1 << bits))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        stored_values = 2.0**dataset.BitsStored - 1 - stored_values
    slope, intercept = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
    return stored_values * float(slope) + float(intercept), padding
