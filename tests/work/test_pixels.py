"""Pixels into a volume: every codec, every kind of value, every lie about size."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_store
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    RLELossless,
)
from work.phantoms import encoded, image, read, series, stored, values

from gatekeeper.errors import UnreadableSeries
from gatekeeper.work import source as source_module
from gatekeeper.work.series import candidates, read_study
from gatekeeper.work.values import IncompleteSeries
from models.volume import Volume

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
DATA_FILES = Path(data_store.__file__).parent / "data"
LIMIT = 1_000_000


def volume(datasets: list[Any], folder: Path, limit: int = LIMIT) -> Volume:
    (found,) = read(datasets, folder)
    if found.problem is not None:
        raise UnreadableSeries(found.problem)
    (candidate,) = candidates(found)
    return candidate.decode(limit)


def test_stored_values_become_float32_in_slice_order(tmp_path: Path) -> None:
    """Images that come in any order fill the volume from foot to head."""
    found = volume(series(5)[::-1], tmp_path)

    assert found.array.dtype == np.float32
    assert found.array.shape == (5, 16, 12)
    assert all((found.array[k] == values(k, (16, 12))).all() for k in range(5))
    assert found.slice_ids[0].endswith(".1.1.1")
    assert (found.modality, found.sequence) == ("MR", "T1")


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.permutations(range(6)))
def test_any_order_of_files_gives_the_same_volume(tmp_path: Path, order: list[int]) -> None:
    """Neither the order of arrival nor the names of the files matter."""
    images = series(6)
    straight = volume(images, tmp_path)
    found = volume([images[index] for index in order], tmp_path)

    assert (found.array == straight.array).all()
    assert (found.affine == straight.affine).all()
    assert found.slice_ids == straight.slice_ids


def test_rescale_is_each_slices_own(tmp_path: Path) -> None:
    """Slope and intercept may differ between slices, as in PET."""
    images = series(3)
    for index, item in enumerate(images):
        item.RescaleSlope, item.RescaleIntercept = index + 0.5, -10 * index
    found = volume(images, tmp_path)

    for index in range(3):
        expected = values(index, (16, 12)) * (index + 0.5) - 10 * index
        assert np.allclose(found.array[index], expected)


def test_ct_values_are_hounsfield_units(tmp_path: Path) -> None:
    """A stored 0 with intercept -1024 is -1024 HU."""
    images = series(3, modality="CT", description="", RescaleSlope=1, RescaleIntercept=-1024)

    assert volume(images, tmp_path).array[0, 0, 0] == -1024


def test_signed_values_keep_their_sign(tmp_path: Path) -> None:
    """PixelRepresentation 1 reads two's complement."""
    pixels = np.full((16, 12), -5, "<i2").tobytes()
    images = series(3, PixelRepresentation=1, PixelData=pixels)

    assert (volume(images, tmp_path).array == -5).all()


def test_unused_high_bits_are_no_values(tmp_path: Path) -> None:
    """Bits above BitsStored, where old overlays lie, do not reach the volume."""
    pixels = np.full((16, 12), 0xF000 | 100, "<u2").tobytes()
    images = series(3, BitsStored=12, HighBit=11, PixelData=pixels)

    assert (volume(images, tmp_path).array == 100).all()


@pytest.mark.parametrize(("padding", "end"), [(-2000, None), (63536, None), (-2000, -1990)])
def test_padding_becomes_air_in_ct(tmp_path: Path, padding: int, end: int | None) -> None:
    """Padding is no tissue, also where its VR was written as unsigned."""
    pixels = np.full((16, 12), -1995 if end else -2000, "<i2")
    pixels[8:] = 40
    images = series(
        3, modality="CT", description="", PixelRepresentation=1, PixelData=pixels.tobytes()
    )
    for item in images:
        item.add_new("PixelPaddingValue", "US" if padding > 0 else "SS", padding)
        if end is not None:
            item.add_new("PixelPaddingRangeLimit", "SS", end)
    found = volume(images, tmp_path).array

    assert (found[:, :8] == -1000).all()
    assert (found[:, 8:] == 40).all()


def test_monochrome1_of_mr_is_turned_round(tmp_path: Path) -> None:
    """Where larger stored values are darker, decoding makes them brighter again."""
    images = series(3, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1",
                    WindowCenter=5, WindowWidth=9)  # fmt: skip
    (candidate,) = candidates(read(images, tmp_path)[0])
    header = candidate.source_series().slices[0].header

    assert (candidate.decode(LIMIT).array[1] == 4095 - values(1, (16, 12))).all()
    assert header.PhotometricInterpretation == "MONOCHROME2"
    assert "WindowCenter" not in header


def test_monochrome1_of_ct_keeps_its_hounsfield_units(tmp_path: Path) -> None:
    """Physical values do not depend on how they are displayed."""
    images = series(3, modality="CT", description="", PhotometricInterpretation="MONOCHROME1")

    assert (volume(images, tmp_path).array[2] == values(2, (16, 12))).all()


CODECS = ["", "_RLE", "_big_endian", "_jpeg_2k_lossless", "_jpeg_ls_lossless"]


@pytest.mark.parametrize("codec", CODECS)
def test_an_enhanced_object_is_the_same_in_every_codec(codec: str, tmp_path: Path) -> None:
    """Ten frames with functional groups, stored in descending order, make one ascending volume."""
    plain = dcmread(DATA_FILES / "emri_small.dcm")
    found = volume([_with_frames(dcmread(DATA_FILES / f"emri_small{codec}.dcm"))], tmp_path)

    assert found.array.shape == (10, 64, 64)
    assert (found.array == 2.0 * plain.pixel_array[::-1] + 1).all()
    assert found.spacing == pytest.approx((1.2, 0.9375, 0.9375))
    assert found.slice_ids[0].endswith("#10")
    assert (found.modality, found.body_part, found.sequence) == ("MR", "BRAIN", "T1")


def test_an_enhanced_object_with_too_few_frames_is_truncated(tmp_path: Path) -> None:
    """Nine compressed frames where ten are declared are named as such."""
    short = _with_frames(dcmread(DATA_FILES / "emri_small_jpeg_2k_lossless.dcm"))
    frames = list(generate_frames(short.PixelData, number_of_frames=10))
    short.PixelData = encapsulate(frames[:9])

    with pytest.raises(IncompleteSeries, match="Truncated: the pixel data holds 9 of 10 frames"):
        volume([short], tmp_path)


def test_an_enhanced_file_cut_short_is_truncated(tmp_path: Path) -> None:
    """A file that ends within its last frame is truncated."""
    whole = encoded(_with_frames(dcmread(DATA_FILES / "emri_small_jpeg_2k_lossless.dcm")))

    with pytest.raises(IncompleteSeries, match="Truncated: a fragment declares"):
        volume([whole[:-2000]], tmp_path)


def test_frames_without_functional_groups_are_refused(tmp_path: Path) -> None:
    """A multi-frame object that does not say where its frames lie is not guessed at."""
    with pytest.raises(UnreadableSeries, match="Multi-frame without functional groups"):
        volume([dcmread(DATA_FILES / "emri_small.dcm")], tmp_path)


def test_functional_groups_must_describe_every_frame(tmp_path: Path) -> None:
    """Nine groups for ten frames are refused."""
    enhanced = _with_frames(dcmread(DATA_FILES / "emri_small.dcm"))
    del enhanced.PerFrameFunctionalGroupsSequence[-1]

    with pytest.raises(UnreadableSeries, match="functional groups describe 9 frames"):
        volume([enhanced], tmp_path)


def test_two_volumes_in_one_enhanced_object_are_refused(tmp_path: Path) -> None:
    """An enhanced object with two echoes names the attribute that tells them apart."""
    enhanced = _with_frames(dcmread(DATA_FILES / "emri_small.dcm"))
    for index, group in enumerate(enhanced.PerFrameFunctionalGroupsSequence):
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 1.2 * (index % 5)]
        echo = Dataset()
        echo.EffectiveEchoTime = 10.0 + 20 * (index // 5)
        group.MREchoSequence = [echo]

    with pytest.raises(UnreadableSeries, match=r"2 volumes in one multi-frame series.* EchoTime"):
        volume([enhanced], tmp_path)


MR_SMALL = ["", "_RLE", "_bigendian", "_expb", "_implicit", "_jp2klossless", "_jpeg_ls_lossless"]


@pytest.mark.parametrize("codec", MR_SMALL)
def test_a_single_frame_is_the_same_in_every_codec(codec: str, tmp_path: Path) -> None:
    """Signed 16-bit MR decodes to the same values from every transfer syntax."""
    plain = dcmread(PYDICOM_FILES / "MR_small.dcm").pixel_array
    found = volume(_stacked(PYDICOM_FILES / f"MR_small{codec}.dcm"), tmp_path)

    assert all((found.array[k] == plain).all() for k in range(3))


def test_a_codestream_of_the_wrong_sign_is_read_right(tmp_path: Path) -> None:
    """JPEG 2000 that declares itself unsigned under PixelRepresentation 1 keeps -2000."""
    found = volume(_stacked(PYDICOM_FILES / "J2K_pixelrep_mismatch.dcm"), tmp_path)

    assert found.array.min() == -2000


def test_deflated_objects_are_read(tmp_path: Path) -> None:
    """A deflated data set is inflated beside the job and read like any other."""
    images = [_deflated(item) for item in series(3)]
    found = volume(images, tmp_path)

    assert (found.array[2] == values(2, (16, 12))).all()


def test_a_deflate_bomb_is_refused_at_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inflating stops at the limit, whatever the expansion would be."""
    monkeypatch.setattr(source_module, "LARGEST_INFLATED", 4 << 20)
    bombs = [_deflated(item, b"\0" * (64 << 20)) for item in series(3)]

    with pytest.raises(UnreadableSeries, match="expands over 4 MiB"):
        volume(bombs, tmp_path)
    assert all(path.stat().st_size <= 5 << 20 for path in tmp_path.iterdir())


@pytest.mark.parametrize("kept", [0, 1, 100, 383])
def test_truncated_native_pixels_are_named(tmp_path: Path, kept: int) -> None:
    """Pixel data that ends early is named with what is there and what was declared."""
    images = [encoded(item) for item in series(3)]
    images[1] = images[1][: len(images[1]) - 384 + kept]

    with pytest.raises(IncompleteSeries, match=f"Truncated: the pixel data holds {kept} of 384"):
        volume(images, tmp_path)


def test_pixel_data_that_declares_itself_short_is_named(tmp_path: Path) -> None:
    """A value of the wrong declared length is truncated even when the file goes on."""
    images = series(3)
    images[0].PixelData = images[0].PixelData[:100]

    with pytest.raises(IncompleteSeries, match="holds 100 of 384 bytes"):
        volume(images, tmp_path)


def test_an_image_without_pixels_is_named(tmp_path: Path) -> None:
    """An image object that ends before its pixels is incomplete."""
    images = series(3)
    del images[2].PixelData

    with pytest.raises(IncompleteSeries, match="An image has no pixel data"):
        volume(images, tmp_path)


@given(st.integers(1, 1500))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_file_cut_anywhere_gives_one_named_reason(tmp_path: Path, lost: int) -> None:
    """Wherever a transfer broke off, the series is unreadable with a sentence, never an error."""
    images = _compressed_series()
    content = encoded(images[1])
    known = {
        "sop_instance_uid": str(images[1].SOPInstanceUID),
        "sop_class_uid": str(images[1].SOPClassUID),
        "series_instance_uid": str(images[1].SeriesInstanceUID),
        "transfer_syntax_uid": str(RLELossless),
    }
    files = [stored(encoded(item), tmp_path) for item in (images[0], images[2])]
    files.append(stored(content[: max(0, len(content) - lost)], tmp_path, **known))
    (found,) = read_study(files, tmp_path)

    if found.problem is None:
        with pytest.raises(UnreadableSeries) as caught:
            candidates(found)[0].decode(LIMIT)
        assert str(caught.value).endswith(".")


def test_too_many_voxels_are_refused_before_decoding(tmp_path: Path) -> None:
    """The declared size decides; the pixel data may be empty."""
    images = series(3, Rows=60000, Columns=60000, PixelData=b"\0\0")

    with pytest.raises(UnreadableSeries, match=r"Too large: 10,800,000,000 voxels .* 1,000,000"):
        volume(images, tmp_path)


def test_a_codestream_larger_than_its_header_is_refused(tmp_path: Path) -> None:
    """JPEG 2000 that declares 60,000 x 60,000 pixels never reaches the decoder."""
    found = _stacked(PYDICOM_FILES / "MR_small_jp2klossless.dcm")
    for item in found:
        item.PixelData = _patched(item.PixelData, b"\xff\x4f\xff\x51", 8, ">2L", 60000, 60000)

    _refused_cheaply(found, tmp_path, "declares 60000 x 60000 pixels where .* 64 x 64")


def test_a_jpeg_frame_larger_than_its_header_is_refused(tmp_path: Path) -> None:
    """JPEG-LS that declares 65,000 x 65,000 pixels never reaches the decoder."""
    found = _stacked(PYDICOM_FILES / "MR_small_jpeg_ls_lossless.dcm")
    for item in found:
        item.PixelData = _patched(item.PixelData, b"\xff\xf7", 5, ">2H", 65000, 65000)

    _refused_cheaply(found, tmp_path, "declares 65000 x 65000 pixels where .* 64 x 64")


def test_a_run_length_bomb_is_refused(tmp_path: Path) -> None:
    """RLE longer than its pixels could ever need is not expanded."""
    bomb = struct.pack("<16L", 2, 64, 2_000_064, *[0] * 13) + b"\x81\0" * 2_000_000
    images = series(3, PixelData=encapsulate([bomb]))
    for item in images:
        item.file_meta.TransferSyntaxUID = RLELossless
        item["PixelData"].is_undefined_length = True

    _refused_cheaply(images, tmp_path, "A run-length frame is longer than its pixels")


def test_a_fragment_longer_than_its_file_is_truncated(tmp_path: Path) -> None:
    """A fragment that claims 4 GiB allocates nothing."""
    images = [encoded(item) for item in _compressed_series()]
    start = images[0].index(b"\xfe\xff\x00\xe0", images[0].index(b"\xe0\x7f\x10\x00") + 20)
    images[0] = images[0][: start + 4] + b"\xf0\xff\xff\xff" + images[0][start + 8 :]

    with pytest.raises(IncompleteSeries, match="a fragment declares 4,294,967,280 bytes"):
        volume(images, tmp_path)


def test_a_header_value_longer_than_its_file_allocates_nothing(tmp_path: Path) -> None:
    """A length of 4 GiB in the header reads what the file holds."""
    item = encoded(image(0))
    at = item.index(b"\x28\x00\x02\x00US")
    lying = item[:at] + b"\x27\x00\x10\x00OB\0\0\xf0\xff\xff\xff" + item[at:]
    tracemalloc.start()
    try:
        read([lying, encoded(image(1)), encoded(image(2))], tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


NAMED: list[tuple[Callable[[Dataset], object], str]] = [
    (lambda item: item.__setattr__("PhotometricInterpretation", "PALETTE COLOR"), "neither MONOCH"),
    (lambda item: item.__setattr__("BitsAllocated", 12), "12 bits allocated are not read"),
    (lambda item: item.__setattr__("BitsStored", 20), "BitsStored is not between"),
    (lambda item: item.__setattr__("ModalityLUTSequence", [Dataset()]), "modality lookup table"),
    (lambda item: item.__setattr__("NumberOfFrames", 0), "NumberOfFrames is not between 1"),
    (lambda item: item.__delattr__("ImagePositionPatient"), "ImagePositionPatient is missing"),
    (lambda item: item.__delattr__("ImageOrientationPatient"), "ImageOrientationPatient is miss"),
    (lambda item: item.__delattr__("PixelSpacing"), "PixelSpacing is missing"),
    (lambda item: item.__delattr__("Rows"), "Rows or Columns is missing"),
    (lambda item: item.__setattr__("ImagePositionPatient", [0, 0]), "has 2 values instead of 3"),
]


@pytest.mark.parametrize(("spoil", "reason"), NAMED)
def test_what_is_missing_or_wrong_is_named(
    spoil: Callable[[Dataset], object], reason: str, tmp_path: Path
) -> None:
    """The reason names the attribute or rule and nothing of the patient."""
    images = series(3)
    spoil(images[1])

    with pytest.raises(UnreadableSeries, match=reason) as caught:
        volume(images, tmp_path)
    assert "Doe" not in str(caught.value)


def test_values_that_are_not_finite_are_named(tmp_path: Path) -> None:
    """NaN in float pixel data never becomes a score."""
    images = series(3, BitsAllocated=32, PixelData=None)
    for item in images:
        del item.PixelRepresentation, item.BitsStored, item.HighBit
        pixels = np.ones((16, 12), "<f4")
        pixels[3, 4] = np.nan
        item.FloatPixelData = pixels.tobytes()

    with pytest.raises(UnreadableSeries, match="Pixel values are not finite"):
        volume(images, tmp_path)


def test_a_transfer_syntax_without_a_decoder_is_named(tmp_path: Path) -> None:
    """MPEG video is named and not decoded."""
    images = _compressed_series()
    for item in images:
        item.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.102")

    with pytest.raises(UnreadableSeries, match=r"in transfer syntax MPEG-4 .* is not read"):
        volume(images, tmp_path)


@pytest.mark.parametrize("name", ["MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"])
def test_a_compressed_frame_without_its_end_is_truncated(name: str, tmp_path: Path) -> None:
    """Half a codestream, which a decoder would fill up with guesses, is named as truncated."""
    found = _stacked(PYDICOM_FILES / f"{name}.dcm")
    (code,) = generate_frames(found[1].PixelData, number_of_frames=1)
    found[1].PixelData = encapsulate([code[: len(code) // 2]])

    with pytest.raises(IncompleteSeries, match="Truncated: a compressed frame has no end"):
        volume(found, tmp_path)


def test_garbage_in_a_frame_is_named(tmp_path: Path) -> None:
    """A run-length frame of noise ends as a named reason."""
    images = _compressed_series()
    images[1].PixelData = encapsulate([bytes(range(256)) * 4])

    with pytest.raises(UnreadableSeries, match="RLE Lossless cannot be decoded"):
        volume(images, tmp_path)


def test_decoding_keeps_one_frame_beside_the_volume(tmp_path: Path) -> None:
    """The peak of memory is the volume, its mask of finite values and little more."""
    found = read(series(64, shape=(128, 128)), tmp_path)
    (candidate,) = candidates(found[0])
    candidate.decode(10_000_000)
    tracemalloc.start()
    try:
        array = candidate.decode(10_000_000).array
        assert tracemalloc.get_traced_memory()[1] < 1.5 * array.nbytes
    finally:
        tracemalloc.stop()


def _with_frames(dataset: Dataset) -> Dataset:
    """Give an enhanced object functional groups: descending frames, values 2 v + 1."""
    shared, orientation, measures, transformation = (Dataset() for _ in range(4))
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.9375, 0.9375], 1.2
    transformation.RescaleSlope, transformation.RescaleIntercept = 2, 1
    transformation.RescaleType = "US"
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [measures]
    shared.PixelValueTransformationSequence = [transformation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups: list[Dataset] = []
    for index in range(10):
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, -1.2 * index]
        group.PlanePositionSequence = [position]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    return dataset


def _stacked(path: Path) -> list[Dataset]:
    """Return three copies of one image, one above the other."""
    found: list[Dataset] = []
    for index in range(3):
        item = dcmread(path)
        item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{index}")
        item.ImagePositionPatient = [0, 0, index]
        item.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        item.InstanceNumber = index
        found.append(item)
    return found


def _compressed_series() -> list[Dataset]:
    images = series(3, shape=(64, 64))
    for item in images:
        item.compress(RLELossless)
    return images


def _deflated(item: Dataset, tail: bytes = b"") -> bytes:
    """Return an image as a deflated file, its data set followed by `tail`."""
    plain = encoded(item)
    start = 144 + int.from_bytes(plain[140:144], "little")
    item.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta = encoded(item)
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    data = packer.compress(plain[start:] + tail) + packer.flush()
    return meta[: 144 + int.from_bytes(meta[140:144], "little")] + data


def _patched(data: bytes, marker: bytes, offset: int, form: str, *numbers: int) -> bytes:
    at = data.index(marker) + offset
    packed = struct.pack(form, *numbers)
    return data[:at] + packed + data[at + len(packed) :]


def _refused_cheaply(images: list[Dataset], folder: Path, reason: str) -> None:
    """Assert that decoding is refused without allocating what is declared."""
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableSeries, match=reason):
            volume(images, folder)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
