"""A chest CT with a drawn nodule: a probability in the report, and the verdict untouched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from lesions.chests import NODULE, SPACING, STEP, chest, nodule, segmentation, structure_set
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from results.validators import (
    KNOWN_SR_WARNINGS,
    KNOWN_WARNINGS,
    Validate,
    ValidateReports,
    sr_errors,
    unexplained,
    unknown,
)
from support.lesions import SMALL, made
from work.phantoms import Ward, read

from gatekeeper.cli import study as study_command
from gatekeeper.explanations import explanations
from gatekeeper.lesions.checking import bundle_answer
from gatekeeper.lesions.finding import Origin
from gatekeeper.lidc import annotated_scans
from gatekeeper.reference import Limits
from gatekeeper.results import catalogue
from gatekeeper.results.tree import children, code_of, descendants
from gatekeeper.work.lesion_request import LesionRequest
from gatekeeper.work.lesions import LesionScorer
from gatekeeper.work.series import candidates
from gatekeeper.work.worker import Worker
from models.finding import Finding
from models.lesion import model, training
from models.lesion.incoming import patches
from models.lesion.lesions import of_nodules
from models.lesion.model import LesionModel
from models.manifests import MANIFEST
from models.regions import measured
from models.sources import lidc
from models.training.loop import Run
from storage import outcomes
from storage.records import Outcome

ORGAN = Code("123037004", "SCT", "Anatomical Structure")
SEEN = "1 from a segmentation, larger than the 22 mm that the model sees."
NOT = "Not scored for malignancy: "


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a small lesion bundle: it sees 16 pixels, 22 mm, of a single slice."""
    fitted = training.fit(made(12), [], SMALL, Run(seed=1))
    logits = np.linspace(-2, 2, 12)
    truth = np.array([0, 0, 0, 1, 0, 0, 1, 0, 1, 1, 1, 1], dtype=bool)
    folder = tmp_path_factory.mktemp("bundles") / "nodules"
    statements = {"not_tested_on": ["Discs made for tests."]}
    model.save(LesionModel(fitted, model.calibrate(logits, truth), "nodules"), folder, statements)
    return folder


@pytest.fixture(scope="module")
def ward(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """Give a database and spool whose settings name the bundle."""
    folder = tmp_path_factory.mktemp("ward")
    ward = Ward(folder, f"sqlite:///{folder / 'facts.db'}")
    ward.database.migrate()
    lesions = replace(ward.settings.lesions, bundle=str(bundle))
    ward.settings = replace(ward.settings, lesions=lesions)
    yield ward
    ward.database.dispose()


@pytest.fixture(scope="module")
def worker(ward: Ward) -> Iterator[Worker]:
    """Give one worker, as its child takes seconds to start."""
    made = Worker(ward.settings, ward.database, ward.spool)
    yield made
    made.close()


def judged(ward: Ward, worker: Worker, job: int) -> Outcome:
    """Work on the job and return its outcome."""
    assert worker.run_once()
    with ward.database.read() as tx:
        found = outcomes.of_job(tx, job)
    assert found is not None, ward.job(job).reason
    return found


def lesions_in(found: Outcome) -> dict[str, Any]:
    """Return what is said of lesions in an outcome."""
    assert not found.evidence.get("lesion_problems"), found.evidence
    (said,) = [one["lesions"] for one in found.evidence["series"] if "lesions" in one]
    return said


def report_of(ward: Ward, job: int) -> Dataset:
    """Return the job's report."""
    with ward.database.read() as tx:
        (result,) = outcomes.results_of_job(tx, job)
    return dcmread(ward.spool.path(result.digest))


def text_of(report: Dataset) -> str:
    """Return the sentences of a report."""
    return "\n".join(str(one.value) for one in report.iterall() if one.keyword == "TextValue")


def test_a_segmentation_is_scored_and_the_report_carries_it(
    ward: Ward,
    worker: Worker,
    dciodvfy: Validate,
    iod_validator: Validate,
    sr_validator: ValidateReports,
) -> None:
    """Probability, interval and calibration, coded and in words; the verdict is as without."""
    ct = chest(1)
    job = ward.study([*ct, segmentation(ct, nodule())])
    found = judged(ward, worker, job)
    assert (found.verdict, found.reason) == (
        "UNCALIBRATED", "Not assessed: no profile for CT CHEST.",
    )  # fmt: skip
    said = lesions_in(found)
    (lesion,) = said["lesions"]
    assert (lesion["origin"], lesion["within"]) == ("segmentation", 1)
    low, high = lesion["interval_95"]
    assert 0 < low <= lesion["probability"] <= high < 1
    expected = [NODULE[2] * SPACING, NODULE[1] * SPACING, NODULE[0] * STEP]
    assert lesion["centre_lps_mm"] == pytest.approx(expected, abs=0.1)
    assert (said["trial"], said["left_out"]) == (True, [])
    report = report_of(ward, job)
    (group,) = [item for item in descendants(report) if code_of(item).value == "125007"]
    numbers = {code_of(item).value: item for item in children(group) if item.ValueType == "NUM"}
    values = {
        name: float(item.MeasuredValueSequence[0].NumericValue) for name, item in numbers.items()
    }
    told = [values[name] for name in ("CANCER_LOW", "111047", "CANCER_HIGH")]
    exact = [100 * one for one in (low, lesion["probability"], high)]
    assert told == pytest.approx(exact, abs=0.006)
    assert values["PREVALENCE"] == 50
    unit = numbers["111047"].MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
    assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("%", "UCUM")
    assert unknown(dciodvfy([report]), KNOWN_WARNINGS) == []
    assert unexplained(iod_validator([report])) == []
    (lines,) = sr_validator([report])
    assert "Root Template Validation Complete" in lines
    assert (sr_errors(lines), unknown(lines, KNOWN_SR_WARNINGS)) == ([], [])
    text = text_of(report)
    assert "TRIAL: bundle nodules is not released for patients" in text
    assert "which explains and does not decide: bundle nodules" in text
    assert "6 benign and 6 malignant patients" in text
    assert "lesion 1 (segment 1 of a segmentation that came with the study)" in text
    (shown,) = study_command.lesions_told(found)
    assert shown.startswith("nodules (TRIAL): lesion 1 (segmentation 1) malignant")
    (scores,) = explanations(found).lesions
    (told_of,) = scores.lesions
    assert (scores.series_slices, told_of.slice, told_of.slices) == (12, 5, (5, 9))
    assert told_of.images == (5, 9)
    across = 11 * SPACING
    assert told_of.size_mm == pytest.approx((5 * STEP, across, across), abs=0.01)
    assert (scores.benign_patients, scores.malignant_patients, scores.prevalence) == (6, 6, 0.5)


def test_a_structure_set_is_scored_where_it_was_drawn(ward: Ward, worker: Worker) -> None:
    """Contours are filled on the scan's own voxels: centre and size are right."""
    ct = chest(2)
    found = judged(ward, worker, ward.study([*ct, structure_set(ct)]))
    (lesion,) = lesions_in(found)["lesions"]
    assert (lesion["origin"], lesion["within"], lesion["patches"]) == ("structure_set", 3, 5)
    expected = [NODULE[2] * SPACING, NODULE[1] * SPACING, NODULE[0] * STEP]
    assert lesion["centre_lps_mm"] == pytest.approx(expected, abs=0.5)
    assert lesion["volume_mm3"] == pytest.approx(5 * STEP * np.pi * 7.0**2, rel=0.1)


def test_what_cannot_be_scored_is_named_and_costs_no_verdict(ward: Ward, worker: Worker) -> None:
    """A contour without points and a segment larger than the patch: a sentence each."""
    ct = chest(3)
    broken = structure_set(ct)
    broken.ROIContourSequence[0].ContourSequence[0].ContourData = ["1", "2"]
    large = np.zeros(nodule().shape, bool)
    large[4:8, 10:50, 10:50] = True
    found = judged(ward, worker, ward.study([*ct, broken, segmentation(ct, large)]))
    assert found.verdict == "UNCALIBRATED"
    assert found.evidence["lesion_problems"] == [
        "Not scored for malignancy: a structure set, with a contour that is not of points in space."
    ]
    (said,) = [one["lesions"] for one in found.evidence["series"] if "lesions" in one]
    assert said["lesions"] == []
    assert said["left_out"] == [NOT + SEEN]


def test_an_organ_and_what_was_drawn_elsewhere_are_not_scored(ward: Ward, worker: Worker) -> None:
    """An anatomical structure is no lesion, and a frame of reference of no series here is named."""
    ct = chest(4)
    organ = segmentation(ct, nodule(), ORGAN)
    elsewhere = structure_set(ct)
    elsewhere.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3"
    elsewhere.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.3"
    found = judged(ward, worker, ward.study([*ct, organ, elsewhere]))
    assert not [one for one in found.evidence["series"] if "lesions" in one]
    assert found.evidence["lesion_problems"] == [
        NOT + "a structure set, drawn on no series of this study that is scored."
    ]


def test_a_broken_bundle_stops_no_verdict(ward: Ward, worker: Worker, bundle: Path) -> None:
    """What explains and does not decide is named as broken, by the check too."""
    weights = bundle / model.WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(b"no weights")
    ct = chest(5)
    try:
        found = judged(ward, worker, ward.study([*ct, structure_set(ct)]))
        fit, said = bundle_answer(str(bundle))
    finally:
        weights.write_bytes(content)
    assert (found.verdict, fit) == ("UNCALIBRATED", False)
    (problem,) = found.evidence["lesion_problems"]
    assert said in problem
    assert study_command.lesions_told(found) == [problem]


def test_the_check_says_whether_a_bundle_is_released(bundle: Path, tmp_path: Path) -> None:
    """TRIAL, unless the manifest says that it is not."""
    known = "nodules, calibrated on 6 benign and 6 malignant"
    assert bundle_answer(str(bundle)) == (
        True,
        f"{known}; a TRIAL bundle, not released for patients",
    )
    released = shutil.copytree(bundle, tmp_path / "released")
    manifest = json.loads((released / MANIFEST).read_text())
    (released / MANIFEST).write_text(json.dumps(manifest | {"trial": False}))
    assert bundle_answer(str(released)) == (True, known)


def received(bundle: Path, ct: Sequence[Dataset], folder: Path, maximum: int = 20) -> Any:
    """Return a scorer of a study, the candidate of its CT, and the volume."""
    series = read(ct, folder)
    (candidate,) = candidates(series[0])
    scorer = LesionScorer(LesionRequest(str(bundle), maximum), series, 10**7)
    return scorer, candidate, candidate.decode(10**7)


def test_our_own_regions_are_scored(bundle: Path, tmp_path: Path) -> None:
    """A detector's region in a chest is a lesion like any other; past the limit it is named."""
    scorer, candidate, volume = received(bundle, chest(6), tmp_path, maximum=1)
    region = measured(volume, 4, nodule(), (0, 0, 0), volume.array)
    finding = cast("Finding", SimpleNamespace(regions=(region, region)))
    header = candidate.images[0].source.header
    uid = str(candidate.series.series_instance_uid)
    said = scorer.score(uid, header, candidate.protocol, volume, finding)
    (lesion,) = said.lesions
    assert (lesion.origin, lesion.within) == (Origin.DETECTOR, 4)
    assert lesion.region.centre == pytest.approx(region.centre)
    assert said.left_out == (
        "Not scored for malignancy: 1 from the anomaly map, beyond the limit of 1.",
    )
    other = replace(candidate.protocol, body_part="ABDOMEN")
    assert scorer.score(uid, header, other, volume, finding) is None


def test_a_patch_is_of_the_lesion_whichever_way_the_scan_lies(bundle: Path, tmp_path: Path) -> None:
    """Rows to the back, columns to the left: a prone scan's patch is the supine one's."""
    _, _, volume = received(bundle, chest(7), tmp_path)
    voxels = np.argwhere(nodule())
    (straight, *_) = patches(volume, voxels, SMALL)
    flipped = volume.affine.copy()
    flipped[:3, 3] += flipped[:3, 1] * (volume.array.shape[1] - 1)
    flipped[:3, 1] *= -1
    turned = replace(volume, array=np.ascontiguousarray(volume.array[:, ::-1]), affine=flipped)
    mirrored = voxels * (1, -1, 1) + (0, volume.array.shape[1] - 1, 0)
    (again, *_) = patches(turned, mirrored, SMALL)
    assert straight.shape == (1, SMALL.size, SMALL.size)
    assert straight[0, SMALL.size // 2, SMALL.size // 2] > 0
    assert np.array_equal(straight, again)


def test_sentences_about_lesions_are_told_in_german() -> None:
    """Each part of what was not scored has its German text."""
    german = catalogue.read("de")
    told = german.told(NOT + "2 from a segmentation, larger than the 45 mm that the model sees.")
    assert told == (
        "Nicht auf Bösartigkeit bewertet: 2 aus einer Segmentierung, größer als die 45 mm, die das "
        "Modell sieht."
    )


def test_a_real_nodule_is_seen_as_in_training(
    shared_data: Path, bundle: Path, tmp_path: Path
) -> None:
    """LIDC-IDRI-0001, its nodule as a SEG: found, and cut into the patches of training."""
    folder = shared_data / "chest_ct_lidc0001_dicom"
    ((scan, annotation),) = annotated_scans(folder, "all", b"k" * 32, Limits(), lambda _: None)
    (nodule_drawn,) = lidc.nodules(annotation, scan.volume)
    slices = sorted(
        (dcmread(path) for path in folder.glob("*.dcm")),
        key=lambda one: float(one.ImagePositionPatient[2]),
    )
    upward = scan.volume.affine[2, 0] > 0
    drawn = segmentation(slices, nodule_drawn.mask[:: 1 if upward else -1])
    series = read([*sorted(folder.glob("*.dcm")), drawn], tmp_path)
    (candidate,) = candidates(series[0])
    volume = candidate.decode(10**8)
    scorer = LesionScorer(LesionRequest(str(bundle), 20), series, 10**8)
    header = candidate.images[0].source.header
    uid = str(candidate.series.series_instance_uid)
    small = scorer.score(uid, header, candidate.protocol, volume, None)
    assert small is not None
    assert scorer.problems == ()
    assert small.left_out == (NOT + SEEN,)  # the nodule is wider than 22 mm
    voxels = np.argwhere(nodule_drawn.mask)
    wide = replace(SMALL, size=32)
    made_here = patches(scan.volume, voxels, wide, most=99)
    trained_on = [one.stack for one in of_nodules(scan, annotation, wide)]
    assert len(made_here) == len(trained_on) == 8
    for here, there in zip(made_here, trained_on, strict=True):
        shifts = [
            np.abs(np.roll(here, (down, right), (1, 2)) - there)[:, 2:-2, 2:-2].max()
            for down in (-1, 0, 1) for right in (-1, 0, 1)
        ]  # fmt: skip
        assert min(shifts) == 0  # the same pixels, a rounding of their middle apart
