"""Programs that judge DICOM objects, as fixtures, with what is known of their complaints."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.common import to_bytes
from gatekeeper.results.tree import descendants

Validate = Callable[[Sequence[Dataset]], list[str]]
RealScan = tuple[Sequence[Dataset], StudyAssessment]
"""The slices of a real scan and what is judged of them."""
ValidateReports = Callable[[Sequence[Dataset]], list[list[str]]]

# Warnings that stay, each explained in docs/results.md; a new one fails the test.
KNOWN_WARNINGS = (
    "Unrecognized defined term <99GATEKEEPER>",
    "Unrecognized defined term <2.25.",
    "this is a Standard Extended SOP Class",
    "Attribute is not present in standard DICOM IOD - (0x0018,0x1002) UI Device UID",
    "Attribute is not present in standard DICOM IOD - (0x0020,0x0052) UI Frame of Reference UID",
    "Attribute is not present in standard DICOM IOD - (0x0020,0x1040) LO Position Reference",
    "Attribute is not present in standard DICOM IOD - (0x0020,0x0032) DS Image Position",
    "Attribute is not present in standard DICOM IOD - (0x0020,0x0037) DS Image Orientation",
    "Attribute is not present in standard DICOM IOD - (0x0018,0x0050) DS Slice Thickness",
    "Attribute is not present in standard DICOM IOD - (0x0018,0x0088) DS Spacing Between Slices",
    # Copied from the real sources, whose own they are.
    "Retired Person Name form",
    "needed to build DICOMDIR",
)
KNOWN_SR_WARNINGS = (
    'TEXT (121077,DCM,"Conclusion"): Content Item not in template',
    'TEXT (121106,DCM,"Comment"): Content Item not in template',
    'TEXT (122405,DCM,"Algorithm Manufacturer"): Content Item not in template',
    'CODE (VERDICT,99GATEKEEPER,"Gate verdict"): Content Item not in template',
    "CODE (AGAINST_REF,99GATEKEEPER",
    'Code (18782-3,LN,"Radiology Study observation (findings)") has different code meaning',
)
KNOWN_ENTITY_WARNINGS = (
    # The entity model of the tool places it in the series for SR, in the study for images.
    "Different information entities for attribute - Element=<AccessionNumber>",
    # What the source lacks though it must be there, or has though it is invalid.
    "Attribute present in one instance but not the other - Element=<ReferringPhysicianName>",
    "Attribute present in one instance but not the other - Element=<PatientAge>",
)

KNOWN_IOD_COMPLAINTS = (
    # Modules and an attribute that these IODs gained after the tables' edition, 2020b.
    "FrameOfReferenceUID is unexpected",
    "PositionReferenceIndicator is unexpected",
    "ImagePositionPatient is unexpected",
    "ImageOrientationPatient is unexpected",
    "SliceThickness is unexpected",
    "SpacingBetweenSlices is unexpected",
    "ContributingEquipmentSequence.DeviceUID is unexpected",
)
KNOWN_STATE_WARNINGS = (
    "W: Testing: ",
    "W: Test passed.",
    # The source has no name.
    "W: patientName absent or empty in presentation state",
    # The toolkit (3.6.7) refuses UTC's own offset, which PS3.5 section 6.2 allows.
    "E: Error: Attribute value does not conform to data type definition.",
    "E:    Affected attribute: ContributionDateTime (0018,a002), Type DT",
    "+0000]",
    "E:    Expected format for each value: [0-9]{8}[0-9]{2}([0-9]{2}([0-9]{2}",
    "W: Test failed - one or more errors.",
)


@pytest.fixture
def dciodvfy(peer: Callable[[str], str], tmp_path: Path) -> Validate:
    """Return a function that gives dciodvfy's lines on data sets, errors and warnings."""
    program = peer("dciodvfy")

    def judge(datasets: Sequence[Dataset]) -> list[str]:
        lines: list[str] = []
        for path in written(datasets, tmp_path / "dciodvfy"):
            done = subprocess.run([program, path], capture_output=True, timeout=60, check=False)
            lines += done.stderr.decode("latin-1").splitlines()
        return lines

    return judge


@pytest.fixture
def dcentvfy(peer: Callable[[str], str], tmp_path: Path) -> Validate:
    """Return a function that gives dcentvfy's lines on a set of data sets as one study."""
    program = peer("dcentvfy")

    def judge(datasets: Sequence[Dataset]) -> list[str]:
        paths = written(datasets, tmp_path / "dcentvfy")
        done = subprocess.run([program, *paths], capture_output=True, timeout=60, check=False)
        return done.stderr.decode("latin-1").splitlines()

    return judge


@pytest.fixture(scope="session")
def sr_validator(
    peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> ValidateReports:
    """Return a function that gives the lines of PixelMed's SR validator on each report.

    It takes ten seconds of processor time a report, nearly all of them to compile its style sheet.
    """
    java = peer("java")
    jar = Path("/usr/share/java/pixelmed.jar")
    if not jar.exists():
        peer("pixelmed")
    # The style sheet is larger than a current Java allows by default.
    limits = ("xpathExprGrpLimit", "xpathExprOpLimit", "xpathTotalOpLimit", "entityExpansionLimit")
    program = [java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    program += [f"-Djdk.xml.{name}=0" for name in limits]
    program += ["-cp", str(jar), "com.pixelmed.validate.DicomSRValidator"]
    folder = tmp_path_factory.mktemp("sr")

    def lines_of(path: Path) -> list[str]:
        done = subprocess.run([*program, path], capture_output=True, timeout=150, check=False)
        return (done.stdout + done.stderr).decode("latin-1").splitlines()

    def judge(datasets: Sequence[Dataset]) -> list[list[str]]:
        with ThreadPoolExecutor(max_workers=2) as pool:
            return list(pool.map(lines_of, written(datasets, folder)))

    return judge


@pytest.fixture(scope="session")
def iod_validator(published: Callable[[str], metadata.Distribution]) -> Validate:
    """Return a function that gives what dicom-validator finds against the IODs of its tables."""
    published("dicom-validator")
    files = published("dicom-standard").files or []
    (ciods,) = [file for file in files if file.name == "ciods.json"]
    from dicom_validator.validator.error_handler import (
        NullValidationResultHandler,
        ValidationResultFormatter,
    )
    from dicom_validator.validator.iod_validator import IODValidator
    from dicom_validator.validator.validation_result import Status
    from results.standard_tables import standard_tables

    tables = standard_tables(Path(str(ciods.locate())).resolve().parent)
    silent, formatter = NullValidationResultHandler(), ValidationResultFormatter()

    def judge(datasets: Sequence[Dataset]) -> list[str]:
        lines: list[str] = []
        for dataset in datasets:
            found = IODValidator(round_trip(dataset), tables, error_handler=silent).validate()
            assert found.status in (Status.Passed, Status.Failed), found.status
            lines += [
                ".".join(keyword_for_tag(part) for part in (*(tag.parents or ()), tag.tag))
                + formatter.error_message(error)
                for errors in found.module_errors.values()
                for tag, error in errors.items()
            ]
        return lines

    return judge


@pytest.fixture
def printed(peer: Callable[[str], str], tmp_path: Path) -> Callable[[Dataset], str]:
    """Return a function that gives what dsrdump prints of a report."""
    program = peer("dsrdump")

    def dump(dataset: Dataset) -> str:
        (path,) = written([dataset], tmp_path / "dsrdump")
        command = [program, "--print-long-values", "--print-all-codes", path]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode("latin-1")

    return dump


@pytest.fixture
def dcmpschk(peer: Callable[[str], str], tmp_path: Path) -> Validate:
    """Return a function that gives the errors and warnings of dcmpschk on presentation states."""
    program = peer("dcmpschk")

    def judge(datasets: Sequence[Dataset]) -> list[str]:
        lines: list[str] = []
        for path in written(datasets, tmp_path / "dcmpschk"):
            done = subprocess.run([program, path], capture_output=True, timeout=60, check=False)
            said = [
                line.rstrip() for line in (done.stdout + done.stderr).decode("latin-1").splitlines()
            ]
            lines += [line for line in said if line.startswith(("E: ", "W: ", "F: "))]
            if done.returncode:
                lines.append(f"F: exit status {done.returncode}")
        return lines

    return judge


def written(datasets: Sequence[Dataset], folder: Path) -> list[Path]:
    """Write data sets as files into a folder, and return their paths."""
    folder.mkdir(exist_ok=True)
    paths: list[Path] = []
    for index, dataset in enumerate(datasets):
        path = folder / f"{index:04d}.dcm"
        path.write_bytes(to_bytes(dataset))
        paths.append(path)
    return paths


def errors(lines: Sequence[str]) -> list[str]:
    """Return the lines of dciodvfy or dcentvfy that report an error."""
    return [line for line in lines if line.startswith("Error")]


def unknown(lines: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the errors, and the warnings that are not among the known."""
    found = [line for line in lines if line.startswith(("Warning", "Error", "W:", "E:", "F:"))]
    return [line for line in found if not any(text in line for text in known)]


def unexplained(complaints: Sequence[str]) -> list[str]:
    """Return what dicom-validator finds that is not the age of its tables."""
    return [line for line in complaints if line not in KNOWN_IOD_COMPLAINTS]


def sr_errors(lines: Sequence[str]) -> list[str]:
    """Return what PixelMed's validator says that is neither progress nor a warning."""
    usual = ("Found ", "Warning", "Root Template Validation Complete", "IOD validation complete")
    return [line for line in lines if not line.startswith(usual)]


def round_trip(dataset: Dataset) -> Dataset:
    """Return a data set as a reader gets it."""
    return dcmread(io.BytesIO(to_bytes(dataset)))


def without(keyword: str) -> Callable[[Dataset], None]:
    """Return a mutation that takes an attribute away."""

    def mutate(dataset: Dataset) -> None:
        del dataset[keyword]

    return mutate


def number_without_units(dataset: Dataset) -> None:
    """Take the units of every number away."""
    for item in descendants(dataset):
        if item.ValueType == "NUM":
            del item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence


def on_real_scans(of_the_template: slice = slice(None, None, 5)) -> pytest.MarkDecorator:
    """Return the mark under which a test's `real` is each real scan in turn, a part of the long."""
    return pytest.mark.parametrize(
        "real",
        [
            ("mni_slices", "BRAIN", of_the_template),
            ("seven_tesla_slices", "BRAIN", slice(180, 188)),
            ("pelvis_slices", "PELVIS", slice(None)),
            ("chest_slices", "CHEST", slice(None)),
        ],
        indirect=True,
        ids=["mni", "seven_tesla", "pelvis", "chest"],
    )


@pytest.fixture
def real(request: pytest.FixtureRequest, assess: Callable[..., StudyAssessment]) -> RealScan:
    """Return one of the scans of `on_real_scans`."""
    source, body_part, chosen = request.param
    slices = request.getfixturevalue(source)[chosen]
    return slices, assess(slices, body_part=body_part)
