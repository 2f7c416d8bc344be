"""A folder of DICOM files becomes scans without identities, and what is left out is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless
from work.phantoms import encoded, image, series

from gatekeeper import reference
from gatekeeper.pseudonym import KEY, subject_key
from gatekeeper.reference import Limits, dicom_scans, holds_dicom
from gatekeeper.work.protocol import device_name, protocol_name
from models.errors import ModelError
from models.registry import Profile
from models.scan import Scan

T1 = Profile("MR", "BRAIN", ("HEAD",), "T1", (), True)
SITE_KEY = bytes(range(32))
SMALL = Limits(memory_mib=2048, cpu_seconds=60, wall_seconds=60, maximum_voxels=1_000_000)
SCANNER: dict[str, Any] = {
    "Manufacturer": "Siemens Healthineers",
    "ManufacturerModelName": "MAGNETOM Skyra^fit",
    "MagneticFieldStrength": "2.9",
    "ProtocolName": "t1_mprage sag",
}


def put(datasets: Iterable[Dataset], folder: Path) -> None:
    """Write data sets as files without an ending, in a folder for each series."""
    for dataset in datasets:
        place = folder / str(dataset.SeriesNumber)
        place.mkdir(parents=True, exist_ok=True)
        (place / str(dataset.InstanceNumber)).write_bytes(encoded(dataset))


def read(
    folder: Path, split: str = "all", profile: Profile | None = T1, key: bytes = SITE_KEY
) -> tuple[list[Scan], Counter[str]]:
    """Return the scans of a folder, and what was left out."""
    left_out: Counter[str] = Counter()
    found = dicom_scans(folder, split, profile, key, SMALL, lambda why: left_out.update([why]))
    return list(found), left_out


def test_a_series_is_read_as_the_worker_reads_it(tmp_path: Path) -> None:
    """Values, place, contrast, scanner and protocol; everything in it stands for normal."""
    put(series(6, PatientID="0815", **SCANNER), tmp_path)

    (scan,), left_out = read(tmp_path)

    volume = scan.volume
    assert volume.array.shape == (6, 16, 12)
    assert volume.array[3].min() == 300
    assert volume.spacing == (2.0, 1.5, 1.0)
    assert (volume.modality, volume.sequence) == ("MR", "T1")
    assert (volume.device, volume.protocol) == (
        "SIEMENS MAGNETOM_SKYRA_FIT 2.9T",
        "T1_MPRAGE_SAG",
    )
    assert scan.normal.all()
    assert not scan.lesion.any()
    assert not left_out


def test_no_identity_is_in_a_scan(tmp_path: Path) -> None:
    """A patient has one name in all its series, another under another site's key."""
    put(series(3, number=1, PatientID="0815"), tmp_path / "a")
    put(series(3, number=2, PatientID="0815"), tmp_path / "b")

    scans, _ = read(tmp_path)
    elsewhere, _ = read(tmp_path / "a", key=bytes(32))

    assert len({scan.subject for scan in scans}) == 1
    assert len({scan.name for scan in scans}) == 2
    assert not {scan.subject for scan in scans} & {scan.subject for scan in elsewhere}
    words = " ".join(f"{scan.name} {scan.subject} {scan.volume.slice_ids}" for scan in scans)
    assert not any(known in words for known in ("0815", "Doe", "1.2.826"))


def test_a_patient_is_on_one_side_of_the_split(tmp_path: Path) -> None:
    """The sides share no one, and together they are all."""
    for number in range(1, 5):
        put(series(3, number=number, PatientID=f"P{number % 2}"), tmp_path)

    sides = [read(tmp_path, split)[0] for split in ("train", "calibration", "dev")]

    names = [{scan.subject for scan in scans} for scans in sides]
    assert sum(len(one) for one in names) == len(set[str]().union(*names)) == 2
    assert sum(len(scans) for scans in sides) == 4
    with pytest.raises(ModelError, match="splits"):
        read(tmp_path, "test")


def test_what_is_not_wanted_is_left_out_with_its_reason(tmp_path: Path) -> None:
    """Other contrasts, localizers, series with a gap, and files that are twice there or broken."""
    put(series(3, number=1), tmp_path)
    put(series(3, number=2, description="t2_tse_tra"), tmp_path)
    put(series(3, number=3, description="localizer"), tmp_path)
    put([one for one in series(6, number=4) if one.InstanceNumber != 3], tmp_path)
    (tmp_path / "1" / "copy").write_bytes((tmp_path / "1" / "1").read_bytes())
    (tmp_path / "broken").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / "link").symlink_to(tmp_path / "1" / "1")

    scans, left_out = read(tmp_path)

    assert len(scans) == 1
    assert left_out["a file that is there twice"] == 1
    assert left_out["a series that is a localizer"] == 1
    assert left_out["a series of another profile: MR (body part not stated) T2"] == 1
    assert sum("slice" in reason for reason in left_out) == 1
    assert left_out.total() == 5


def test_pixels_that_cannot_be_decoded_cost_their_series_alone(tmp_path: Path) -> None:
    """The decoder runs in a process of its own; the rest of the folder is read."""
    put(series(3, number=1), tmp_path)
    broken = image(0, number=2)
    broken.file_meta.TransferSyntaxUID = JPEG2000Lossless
    broken.PixelData = encapsulate([b"\xff\x4f\xff\x51" + b"\xff" * 100])
    broken["PixelData"].is_undefined_length = True
    put([broken], tmp_path)

    scans, left_out = read(tmp_path)

    assert len(scans) == 1
    assert left_out.total() == 1


def test_a_crash_costs_its_series_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else was in the process's hands is read by another one."""
    monkeypatch.setattr(reference, "SERIES_AT_ONCE", 2)
    for number in range(1, 5):
        put(series(3, number=number, ProtocolName=str(number)), tmp_path)
    order = [scan.volume.protocol for scan in read(tmp_path)[0]]
    left_out: list[str] = []
    scans = dicom_scans(tmp_path, "all", T1, SITE_KEY, SMALL, left_out.append)

    found = [next(scans)]
    # The reader dies on a file that is not the one that was listed.
    (tmp_path / order[2] / "1").write_bytes(b"another")
    found += scans

    assert [scan.volume.protocol for scan in found] == [order[0], order[1], order[3]]
    assert len(left_out) == 1


def test_a_series_over_the_limits_is_left_out(tmp_path: Path) -> None:
    """Too many voxels, or not enough memory to read them."""
    put(series(3), tmp_path)
    reasons: list[str] = []
    for allowed in (Limits(2048, 60, 60, 100), Limits(64, 60, 60, 10_000)):
        assert not list(dicom_scans(tmp_path, "all", T1, SITE_KEY, allowed, reasons.append))
    assert len(reasons) == 2
    assert "memory" in reasons[1]


def test_a_folder_with_a_dicom_file_is_known(tmp_path: Path) -> None:
    """At any depth, by its preamble and not by its name."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "text.dcm").write_text("no")
    assert not holds_dicom(tmp_path)
    put(series(1), tmp_path / "a" / "b")
    assert holds_dicom(tmp_path)


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """The same ever after; a damaged one is refused."""
    key = subject_key(tmp_path)

    assert subject_key(tmp_path) == key
    assert len(key) == 32
    assert (tmp_path / KEY).stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == [KEY]
    (tmp_path / KEY).write_bytes(b"")
    with pytest.raises(ModelError, match="not a key"):
        subject_key(tmp_path)


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        (SCANNER, "SIEMENS MAGNETOM_SKYRA_FIT 2.9T"),
        ({"Manufacturer": "SIEMENS", "ManufacturerModelName": "Avanto"}, "SIEMENS AVANTO"),
        ({"Manufacturer": "GE MEDICAL SYSTEMS", "MagneticFieldStrength": "15000"}, "GE 1.5T"),
        ({"Manufacturer": "Philips Medical Systems"}, "PHILIPS"),
        ({"Manufacturer": "Maker & Söhne"}, "MAKER_S_HNE"),
        ({"ManufacturerModelName": "Ingenia"}, "INGENIA"),
        ({"MagneticFieldStrength": "3"}, ""),
        ({}, ""),
    ],
)
def test_a_scanner_has_one_name_whoever_writes_it(attributes: dict[str, Any], name: str) -> None:
    """Manufacturer in one word, model, field strength in tesla."""
    assert device_name(image(0, **attributes)) == name


def test_the_protocol_is_its_name_else_the_description() -> None:
    """In capitals, everything else as underscores."""
    assert protocol_name(image(0, ProtocolName="t2 TSE  tra (fs)")) == "T2_TSE_TRA_FS"
    assert protocol_name(image(0, description="t1_mprage")) == "T1_MPRAGE"
    assert protocol_name(image(0, ProtocolName="é" + "x" * 63)) == "X" * 63
    assert protocol_name(image(0, description="")) == ""


def test_volumes_of_the_same_series_have_names_of_their_own(tmp_path: Path) -> None:
    """Two volumes of one series are two scans of one subject."""
    early = series(3, AcquisitionNumber=1, EchoTime=3.0)
    late = series(3, AcquisitionNumber=2, EchoTime=5.0)
    for dataset in late:
        dataset.SOPInstanceUID += ".9"
        dataset.InstanceNumber += 3
    put([*early, *late], tmp_path)

    scans, left_out = read(tmp_path)

    assert not left_out
    assert len({scan.name for scan in scans}) == len(scans) == 2
    assert len({scan.subject for scan in scans}) == 1
    assert np.array_equal(scans[0].volume.array, scans[1].volume.array)
