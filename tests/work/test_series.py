"""Files of a study into series: what is an image, what is set aside, what is not whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from work.phantoms import ROOT, encoded, image, read, series, stored

from gatekeeper.errors import ChildFailed, UnreadableSeries
from gatekeeper.work.protocol import Protocol
from gatekeeper.work.series import ReceivedSeries, candidates, check_complete, read_study
from gatekeeper.work.values import IncompleteSeries
from models.volume import Volume

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
LIMIT = 50_000_000


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dcm"))


def only(found: tuple[ReceivedSeries, ...]) -> ReceivedSeries:
    assert len(found) == 1
    return found[0]


def decoded(found: ReceivedSeries) -> Volume:
    (candidate,) = candidates(found)
    return candidate.decode(LIMIT)


def test_series_are_told_apart_and_the_largest_comes_first(tmp_path: Path) -> None:
    """Files are grouped by Series Instance UID, whatever order they came in."""
    small, large = series(3, number=1), series(5, number=2)
    found = read([*small, *large], tmp_path)

    assert [len(item.images) for item in found] == [5, 3]


def test_reports_and_presentation_states_are_set_aside_by_kind(tmp_path: Path) -> None:
    """An object that is no image is named by its kind and spoils nothing."""
    found = only(read([PYDICOM_FILES / "test-SR.dcm"], tmp_path))

    assert found.skipped == "Comprehensive SR Storage"
    assert not found.images
    assert len(found.sources) == 1


def test_an_object_of_a_private_class_is_set_aside(tmp_path: Path) -> None:
    """A raw-data object of a vendor, such as a protocol report, is no image."""
    item = image(0, SOPClassUID="1.3.12.2.1107.5.9.1")

    assert only(read([item], tmp_path)).skipped == "objects of a private class"


def test_a_localizer_within_a_series_is_left_out(tmp_path: Path) -> None:
    """A CT scout filed in the axial series does not spoil it."""
    images = series(5, modality="CT", description="")
    scout = image(9, modality="CT", description="", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
                  orientation=(1, 0, 0, 0, 0, -1))  # fmt: skip
    found = only(read([*images, scout], tmp_path))

    assert found.skipped is None
    assert decoded(found).array.shape[0] == 5


def test_a_series_of_localizers_alone_is_skipped(tmp_path: Path) -> None:
    """A survey has nothing to assess, and says so."""
    found = only(read(series(3, description="survey"), tmp_path))

    assert found.skipped == "a localizer"


def test_two_contents_under_one_uid_are_never_mixed(tmp_path: Path) -> None:
    """Which of the two is the image is not ours to choose."""
    images = series(3)
    other = image(1, PixelData=b"\7" * 384)
    found = only(read([*images, other], tmp_path))

    assert found.problem == "Two different contents were received under one SOP Instance UID."


def test_a_file_that_is_no_dicom_spoils_its_series_alone(tmp_path: Path) -> None:
    """One unreadable file is one series with a reason; the others are read."""
    known = {
        "sop_instance_uid": "1.2.9",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4",
        "series_instance_uid": "1.2.8",
        "transfer_syntax_uid": ExplicitVRLittleEndian,
    }
    noise = stored(b"\x99" * 5000, tmp_path, **known)
    good = [stored(encoded(item), tmp_path) for item in series(3)]
    whole, broken = read_study([noise, *good], tmp_path)

    assert whole.problem is None
    assert broken.problem == "A file cannot be read as a DICOM data set (InvalidDicomError)."


def test_a_file_changed_in_the_spool_is_a_failure_not_a_verdict(tmp_path: Path) -> None:
    """Bytes that are not what their digest names say nothing of the patient."""
    file = stored(encoded(image(0)), tmp_path)
    Path(file.path).write_bytes(encoded(image(1)))

    with pytest.raises(ChildFailed, match="not what its digest names"):
        read_study([file], tmp_path)


def test_a_file_that_is_gone_is_a_failure_not_a_verdict(tmp_path: Path) -> None:
    """A spool that lost a file says nothing of the patient."""
    file = stored(encoded(image(0)), tmp_path)
    Path(file.path).unlink()

    with pytest.raises(FileNotFoundError):
        read_study([file], tmp_path)


def test_headers_hold_no_pixels_private_elements_or_bulk(tmp_path: Path) -> None:
    """What stays in memory of each file is small."""
    item = image(0, PixelData=b"\0" * 384)
    item.add_new(0x00091001, "LO", "private")
    item.add_new(0x60003000, "OW", b"\0" * 100)
    item.add_new("EncapsulatedDocument", "OB", b"\0" * 100_000)
    header = only(read([item], tmp_path)).sources[0].header

    assert not {0x7FE00010, 0x00091001, 0x60003000, 0x00420011}.intersection(header.keys())
    assert header.PatientID == "TEST"


def test_echoes_of_one_series_are_volumes_of_their_own(tmp_path: Path) -> None:
    """Two echoes make two volumes whose sources do not overlap."""
    first = series(4, description="", EchoTime=12, RepetitionTime=3000, ScanningSequence="SE")
    second = [
        image(k + 4, description="", position=(0, 0, 2.0 * k), EchoTime=100, RepetitionTime=3000,
              ScanningSequence="SE", InstanceNumber=k + 5)
        for k in range(4)
    ]  # fmt: skip
    proton, weighted = candidates(only(read(second + first, tmp_path)))

    assert (proton.protocol.sequence, weighted.protocol.sequence) == ("PD", "T2")
    assert len(proton.source_series().headers) == 4
    headers = [part.header.SOPInstanceUID for part in weighted.source_series().slices]
    assert headers == [str(item.SOPInstanceUID) for item in second]


def test_an_unfit_but_whole_series_is_not_called_incomplete(tmp_path: Path) -> None:
    """A three-plane survey breaks a rule, and nothing is missing from it."""
    planes = [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)]
    images = [image(k, orientation=planes[k]) for k in range(3)]

    with pytest.raises(UnreadableSeries) as caught:
        check_complete(only(read(images, tmp_path)))
    assert not isinstance(caught.value, IncompleteSeries)


def test_lossy_sources_are_known(tmp_path: Path) -> None:
    """A series with one lossy image is lossy."""
    images = series(3)
    images[1].LossyImageCompression = "01"

    assert only(read(images, tmp_path)).source_series().lossy
    assert not only(read(series(3), tmp_path)).source_series().lossy


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_corrupted_file_ends_as_a_volume_or_a_sentence(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Bytes overwritten anywhere in a file never raise anything but a stated reason."""
    images = series(3)
    content = bytearray(encoded(images[1]))
    start = data.draw(st.integers(132, len(content) - 8))
    noise = data.draw(st.binary(min_size=1, max_size=8))
    content[start : start + len(noise)] = noise
    known = {
        "sop_instance_uid": str(images[1].SOPInstanceUID),
        "sop_class_uid": str(images[1].SOPClassUID),
        "series_instance_uid": str(images[1].SeriesInstanceUID),
        "transfer_syntax_uid": str(ExplicitVRLittleEndian),
    }
    found = [stored(encoded(item), tmp_path) for item in (images[0], images[2])]
    read_back = only(read_study([*found, stored(bytes(content), tmp_path, **known)], tmp_path))
    if read_back.problem is None and read_back.skipped is None:
        try:
            for candidate in candidates(read_back):
                assert np.isfinite(candidate.decode(1_000_000).array).all()
        except UnreadableSeries as error:
            assert str(error).endswith(".")


def test_sequences_nested_without_end_are_a_named_reason(tmp_path: Path) -> None:
    """Sequences nested 5,000 deep exhaust the parser, not the process."""
    content = encoded(image(0))
    at = content.index(b"\x10\x00\x10\x00PN")
    nest = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000
    known = {
        "sop_instance_uid": f"{ROOT}.1.1.1",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4",
        "series_instance_uid": f"{ROOT}.1.1",
        "transfer_syntax_uid": str(ExplicitVRLittleEndian),
    }
    found = only(read_study([stored(content[:at] + nest, tmp_path, **known)], tmp_path))

    assert found.problem == "A file cannot be read as a DICOM data set (RecursionError)."


def test_a_file_cut_off_within_a_sequence_is_a_named_reason(tmp_path: Path) -> None:
    """The parser calls that an error of the system, without a number; the spool is well."""
    content = encoded(image(0))
    at = content.index(b"\x10\x00\x10\x00PN")
    open_item = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    element = b"\x08\x00\x55\x11UI\x02\x001\0" + b"\xfe\xff\x0d\xe0\0\0\0\0"
    known = {
        "sop_instance_uid": f"{ROOT}.1.1.1",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4",
        "series_instance_uid": f"{ROOT}.1.1",
        "transfer_syntax_uid": str(ExplicitVRLittleEndian),
    }
    cut = content[:at] + open_item + element
    found = only(read_study([stored(cut, tmp_path, **known)], tmp_path))

    assert found.problem == "A file cannot be read as a DICOM data set (OSError)."


def test_an_unreadable_object_that_is_no_image_is_set_aside_by_kind(tmp_path: Path) -> None:
    """A broken segmentation, alone in its series as they are, spoils no study."""
    known = {
        "sop_instance_uid": "1.2.9",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4",
        "series_instance_uid": "1.2.8",
        "transfer_syntax_uid": str(ExplicitVRLittleEndian),
    }
    broken = stored(b"\x99" * 5000, tmp_path, **known)
    good = [stored(encoded(item), tmp_path) for item in series(3)]
    whole, aside = read_study([broken, *good], tmp_path)

    assert whole.problem is None
    assert aside.problem is None
    assert aside.skipped == "Segmentation Storage"


def test_a_file_that_is_not_what_was_recorded_is_refused(tmp_path: Path) -> None:
    """Results name sources by what the listener recorded; anything else is not one of them."""
    file = replace(stored(encoded(image(0)), tmp_path), sop_instance_uid="1.2.3")
    found = only(read_study([file], tmp_path))

    assert found.problem == "A file's identifiers are not those recorded at its receipt."


# Real scans


def test_the_7t_head_stands_upright(shared_data: Path, tmp_path: Path) -> None:
    """384 real slices make one volume in patient coordinates with the vertex on top.

    The scan reaches from the neck, cut by the field of view, to air above the vertex; and the head
    lies to the back of the field, its face to the front.
    """
    found = only(read(files(shared_data / "brain_t1_structural_dicom/dicoms"), tmp_path))
    volume = decoded(found)
    head = volume.array > 30
    areas = head.sum(axis=(1, 2))

    assert found.protocols == (Protocol("MR", "", "T1"),)
    assert volume.array.shape == (384, 384, 274)
    assert volume.spacing == pytest.approx((0.6667, 0.6667, 0.7000), abs=1e-4)
    assert volume.affine[2, 0] > 0.6
    assert areas[:5].min() > 20 * areas[-5:].max()
    _, y, z = volume.to_patient(tuple(np.argwhere(head).mean(axis=0)))
    assert abs(y) < 60
    assert abs(z) < 60


def test_a_real_pelvis_is_read_obliquely(shared_data: Path, tmp_path: Path) -> None:
    """19 oblique T2 slices of a prostate make one right-handed grid."""
    folder = shared_data / "pelvis_mr_prostatex_dicom/ProstateX-0000_t2_tra"
    found = only(read(files(folder), tmp_path))
    volume = decoded(found)

    assert found.protocols == (Protocol("MR", "PELVIS", "T2"),)
    assert volume.array.shape == (19, 384, 384)
    assert volume.spacing == pytest.approx((3.0, 0.5, 0.5), abs=1e-6)
    assert np.linalg.det(volume.affine[:3, [2, 1, 0]]) > 0


def test_a_real_missing_slice_is_named(shared_data: Path, tmp_path: Path) -> None:
    """The real series that lacks image 6 is incomplete, with its gap."""
    folder = shared_data / "pelvis_mr_prostatex_dicom/ProstateX-0000_bval_MISSING_SLICE"

    with pytest.raises(IncompleteSeries) as caught:
        check_complete(only(read(files(folder), tmp_path)))
    assert str(caught.value) == (
        "1 slice is missing: images 5 and 7 lie 6.00 mm apart where 3.00 mm is regular."
    )


def test_a_real_jpeg_2000_ct_is_in_hounsfield_units(shared_data: Path, tmp_path: Path) -> None:
    """21 slices of a chest CT: lung near -800, soft tissue near 40, and nothing lossy."""
    found = only(read(files(shared_data / "chest_ct_lidc0001_dicom"), tmp_path))
    volume = decoded(found)
    counts, edges = np.histogram(volume.array, bins=np.arange(-1000, 201, 20))

    assert found.protocols == (Protocol("CT", "CHEST", ""),)
    assert volume.array.shape == (21, 512, 512)
    assert volume.spacing == pytest.approx((2.5, 0.703125, 0.703125))
    lung = edges[np.argmax(counts[3:20]) + 3]
    assert -940 < lung < -700
    assert counts[50:54].sum() > 5 * counts[56:].sum()
    assert not found.source_series().lossy


@pytest.mark.parametrize("patient", ["P001", "cap001", "normal001"])
def test_real_lossless_jpeg_of_every_14th_slice(
    shared_data: Path, tmp_path: Path, patient: str
) -> None:
    """An even stack of every 14th slice decodes, and is still not the scan that was made."""
    paths = files(shared_data / "chest_ct_covid_ct_md_dicom" / patient)

    with pytest.raises(IncompleteSeries, match="13 of every 14 slices are missing"):
        candidates(only(read(paths, tmp_path)))

    # Without the numbers that bear witness, the same planes are an honest grid of 28 mm.
    images = [dcmread(path) for path in paths]
    for item in images:
        del item.InstanceNumber
    volume = decoded(only(read(images, tmp_path)))
    assert volume.spacing[0] == pytest.approx(28.0)
    assert volume.array.min() >= -1024
    assert -1024 <= np.percentile(volume.array, 5) < -900
