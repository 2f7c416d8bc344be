"""Compressed pictures are the same pictures, smaller, and every decoder tried agrees."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless
from results.validators import KNOWN_WARNINGS, Validate, errors, round_trip, unknown, written

from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.capture import heatmap_series
from gatekeeper.results.codec import SYNTAXES, compressed
from gatekeeper.results.common import to_bytes
from gatekeeper.results.montage import montage
from gatekeeper.results.report import report

COMPRESSED = [
    pytest.param(RLELossless, id="rle"),
    pytest.param(JPEG2000Lossless, id="jpeg-2000"),
]


@pytest.fixture(scope="module")
def pictures(mni_study: StudyAssessment) -> list[Dataset]:
    """Return a heatmap with colour and a montage."""
    (series,) = mni_study.series
    overview = montage(mni_study, series)
    assert overview is not None
    return [heatmap_series(mni_study, series)[13], overview]


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_every_pixel_comes_back(pictures: list[Dataset], syntax: UID) -> None:
    """Written, read and decoded, a picture is equal to the last bit."""
    for picture in pictures:
        read = round_trip(compressed(picture, syntax))

        assert read.file_meta.TransferSyntaxUID == syntax
        assert np.array_equal(read.pixel_array, picture.pixel_array)


@pytest.mark.parametrize(
    ("syntax", "plugin"),
    [(RLELossless, "pydicom"), (RLELossless, "pylibjpeg"), (JPEG2000Lossless, "pillow")],
)
def test_other_decoders_agree(pictures: list[Dataset], syntax: UID, plugin: str) -> None:
    """The encoder's own decoder is no witness: others see the same colours."""
    for picture in pictures:
        read = round_trip(compressed(picture, syntax))
        pixels, _ = get_decoder(syntax).as_array(read, decoding_plugin=plugin)

        assert np.array_equal(pixels, picture.pixel_array)


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_the_toolkit_shows_the_same_colours(
    pictures: list[Dataset], syntax: UID, peer: Callable[[str], str], tmp_path: Path
) -> None:
    """DCMTK for RLE, OpenJPEG's own file format for JPEG 2000."""
    picture = pictures[0]
    packed = compressed(picture, syntax)
    if syntax == JPEG2000Lossless:
        (frame,) = generate_frames(packed.PixelData, number_of_frames=1)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(frame))), picture.pixel_array)
        return
    (path,) = written([packed], tmp_path / "rle")
    target = tmp_path / "plain.dcm"
    subprocess.run([peer("dcmdrle"), path, target], check=True, timeout=60)

    assert np.array_equal(dcmread(target).pixel_array, picture.pixel_array)


@pytest.mark.parametrize(
    ("syntax", "interpretation", "share"),
    [(RLELossless, "RGB", 0.8), (JPEG2000Lossless, "YBR_RCT", 0.5)],
)
def test_colours_are_named_as_they_are_coded(
    pictures: list[Dataset], syntax: UID, interpretation: str, share: float
) -> None:
    """What the codestream holds stands in the header, and the object is smaller."""
    for picture in pictures:
        packed = compressed(picture, syntax)

        assert packed.PhotometricInterpretation == interpretation
        assert packed.PlanarConfiguration == 0
        assert len(packed.PixelData) < share * len(picture.PixelData)
        (frame,) = generate_frames(packed.PixelData, number_of_frames=1)
        if syntax == JPEG2000Lossless:
            # COD: the multiple component transform is on, the wavelet reversible.
            cod = frame.index(b"\xff\x52")
            assert (frame[cod + 8], frame[cod + 13]) == (1, 1)
        else:
            assert frame[:4] == b"\x03\x00\x00\x00"


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_the_object_stays_the_same_object(pictures: list[Dataset], syntax: UID) -> None:
    """Nothing is lost, so UIDs and all else but the pixels' coding are kept."""
    picture = pictures[0]
    packed = compressed(picture, syntax)

    assert packed.SOPInstanceUID == picture.SOPInstanceUID
    assert packed.file_meta.MediaStorageSOPInstanceUID == picture.SOPInstanceUID
    assert packed.LossyImageCompression == "00"
    differing = {
        element.keyword for element in picture if packed[element.tag].value != element.value
    }
    assert differing <= {"PixelData", "PhotometricInterpretation"}
    assert len(packed) == len(picture)


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_the_picture_given_is_not_changed(pictures: list[Dataset], syntax: UID) -> None:
    """The same data set goes to other nodes in other syntaxes."""
    before = [to_bytes(picture) for picture in pictures]
    for picture in pictures:
        compressed(picture, syntax)

    assert [to_bytes(picture) for picture in pictures] == before


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_a_second_run_gives_the_same_bytes(pictures: list[Dataset], syntax: UID) -> None:
    """Encoders add neither time nor chance."""
    for picture in pictures:
        once, again = (to_bytes(compressed(picture, syntax)) for _ in range(2))

        assert once == again


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_validators_find_no_error_in_a_compressed_picture(
    pictures: list[Dataset], syntax: UID, dciodvfy: Validate
) -> None:
    """dciodvfy reads the encapsulated object and finds what it finds in the plain one."""
    assert unknown(dciodvfy([compressed(one, syntax) for one in pictures]), KNOWN_WARNINGS) == []


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_a_mutilated_compressed_picture_is_caught(
    pictures: list[Dataset], syntax: UID, dciodvfy: Validate
) -> None:
    """The same validator sees a compressed picture without its kind of conversion."""
    mutant = round_trip(compressed(pictures[1], syntax))
    del mutant.ConversionType

    assert errors(dciodvfy([mutant]))


def test_pixels_of_odd_length_are_padded(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """A picture of an odd number of bytes is coded without its padding."""
    study = assess(mni_slices[10:12])
    picture = heatmap_series(study, study.series[0])[0]
    pixels = np.ascontiguousarray(picture.pixel_array[:301, :393])
    picture.Rows, picture.Columns = pixels.shape[:2]
    picture.PixelData = pixels.tobytes() + b"\0"

    for syntax in SYNTAXES:
        assert np.array_equal(round_trip(compressed(picture, syntax)).pixel_array, pixels)


def test_an_uncompressed_picture_may_be_asked_for(pictures: list[Dataset]) -> None:
    """The default leaves a picture as it is."""
    assert compressed(pictures[0], ExplicitVRLittleEndian) is pictures[0]


def test_what_cannot_be_compressed_is_refused(
    mni_study: StudyAssessment, pictures: list[Dataset]
) -> None:
    """A lossy syntax, a report, and a picture that is compressed already are errors."""
    document = report(mni_study)
    assert document is not None

    with pytest.raises(ValueError, match="JPEG Baseline"):
        compressed(pictures[0], JPEGBaseline8Bit)
    with pytest.raises(ValueError, match="uncompressed picture"):
        compressed(document, RLELossless)
    with pytest.raises(ValueError, match="uncompressed picture"):
        compressed(compressed(pictures[0], RLELossless), RLELossless)
