"""LIDC-IDRI's annotations: four readers' outlines, their consensus, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.lesions import SMALL

from gatekeeper.lidc import annotated_scans
from gatekeeper.reference import Limits
from models.errors import ModelError
from models.lesion import command, depth
from models.lesion.lesions import of_nodules
from models.scan import Scan
from models.sources import lidc
from models.training.loop import Run
from models.volume import Volume

_KEY = b"k" * 32


def _square(z: float, low: int, high: int, inside: str = "TRUE") -> str:
    edges = "".join(
        f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>"
        for x, y in ((low, low), (high, low), (high, high), (low, high))
    )
    return (
        f"<roi><imageZposition>{z}</imageZposition><imageSOP_UID>1.2</imageSOP_UID>"
        f"<inclusion>{inside}</inclusion>{edges}</roi>"
    )


def _reader(malignancy: int, *rois: str) -> str:
    return (
        "<readingSession><unblindedReadNodule><noduleID>1</noduleID><characteristics>"
        f"<subtlety>5</subtlety><malignancy>{malignancy}</malignancy></characteristics>"
        f"{''.join(rois)}</unblindedReadNodule></readingSession>"
    )


def _file(folder: Path, *sessions: str) -> Path:
    path = folder / "one.xml"
    path.write_text(
        '<?xml version="1.0"?><LidcReadMessage xmlns="http://www.nih.gov"><ResponseHeader>'
        "<SeriesInstanceUid>1.2.3</SeriesInstanceUid></ResponseHeader>"
        f"{''.join(sessions)}</LidcReadMessage>",
        encoding="utf-8",
    )
    return path


def _volume() -> Volume:
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[:3, :3] = [[0, 0, 1.4], [0, 1.4, 0], [2.5, 0, 0]]
    affine[2, 3] = -10.0
    return Volume(np.full((4, 64, 64), -850, dtype=np.float32), affine, "CT", "CHEST")


def test_half_of_the_readers_make_the_consensus(tmp_path: Path) -> None:
    """What two of four have inside counts; the outline's own pixels do not."""
    path = _file(
        tmp_path,
        _reader(5, _square(-7.5, 20, 30)),
        _reader(4, _square(-7.5, 20, 30)),
        _reader(4, _square(-7.5, 24, 40)),
        "<readingSession/>",
    )
    (nodule,) = lidc.nodules(lidc.read(path), _volume())
    assert nodule.readers == 3
    assert nodule.malignant is True
    assert nodule.ratings["malignancy"] == pytest.approx(13 / 3)
    expected = np.zeros((4, 64, 64), dtype=bool)
    expected[1, 21:30, 21:30] = True
    assert np.array_equal(nodule.mask, expected)


def test_a_nodule_of_one_reader_has_no_consensus(tmp_path: Path) -> None:
    """One of four is less than half."""
    path = _file(tmp_path, _reader(5, _square(-7.5, 20, 30)))
    assert lidc.nodules(lidc.read(path), _volume()) == []


def test_a_hole_is_no_part_of_a_nodule(tmp_path: Path) -> None:
    """An outline that excludes is taken away, wherever in the file it stands."""
    drawn = (_square(-7.5, 24, 28, "FALSE"), _square(-7.5, 20, 32))
    path = _file(tmp_path, _reader(1, *drawn), _reader(2, *drawn))
    (nodule,) = lidc.nodules(lidc.read(path), _volume())
    assert nodule.malignant is False
    assert nodule.mask[1, 22, 22]
    assert not nodule.mask[1, 26, 26]


def test_a_mean_of_three_is_undecided(tmp_path: Path) -> None:
    """Such a nodule has no label, and trains no classifier."""
    path = _file(tmp_path, _reader(2, _square(-7.5, 20, 30)), _reader(4, _square(-7.5, 20, 30)))
    annotation = lidc.read(path)
    (nodule,) = lidc.nodules(annotation, _volume())
    assert nodule.malignant is None
    volume = _volume()
    scan = Scan("s-1", "s", volume, np.ones(4, dtype=bool), np.zeros((4, 64, 64), dtype=bool))
    (patch,) = of_nodules(scan, annotation, SMALL)
    assert patch.malignant is None
    assert patch.mask.sum() == 81
    assert patch.stack.shape == (1, 16, 16)
    assert command.of_lidc([(scan, annotation)], SMALL).lesions == ()


def test_an_annotation_of_another_scan_is_refused(tmp_path: Path) -> None:
    """A height that is no slice's, and a point outside the matrix."""
    far = lidc.read(_file(tmp_path, _reader(5, _square(100.0, 20, 30))))
    with pytest.raises(ModelError, match="in no slice"):
        lidc.nodules(far, _volume())
    wide = lidc.read(_file(tmp_path, _reader(5, _square(-7.5, 20, 90))))
    with pytest.raises(ModelError, match="outside the scan's matrix"):
        lidc.nodules(wide, _volume())


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "no entities"),
        ("<LidcReadMessage/>", "not an LIDC annotation"),
        ("<LidcReadMessage", "not a readable annotation"),
        ('<LidcReadMessage xmlns="http://www.nih.gov"/>', "SeriesInstanceUid is missing"),
    ],
)
def test_what_is_no_annotation_is_refused(tmp_path: Path, content: str, rule: str) -> None:
    """The error names the rule that is broken."""
    path = tmp_path / "bad.xml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=rule):
        lidc.read(path)


def test_lidc_0001_has_the_consensus_that_was_published(shared_data: Path) -> None:
    """Real DICOM and XML: one nodule, pixel by pixel that of an independent reader, malignant."""
    folder = shared_data / "chest_ct_lidc0001_dicom"
    left_out: list[str] = []
    ((scan, annotation),) = annotated_scans(folder, "all", _KEY, Limits(), left_out.append)
    assert left_out == []
    (nodule,) = lidc.nodules(annotation, scan.volume)
    assert (nodule.readers, nodule.ratings["malignancy"]) == (4, 4.75)
    masks = sorted(folder.glob("*_nodule_2of4.png"), reverse=True)
    levels = np.flatnonzero(nodule.mask.any(axis=(1, 2)))
    assert len(masks) == len(levels) == 8
    for path, level in zip(masks, levels, strict=True):
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image) > 0, nodule.mask[level])
    given = command.of_lidc([(scan, annotation)], SMALL)
    assert len(given.lesions) == 8
    assert {one.patient for one in given.lesions} == {scan.subject}
    assert all(one.malignant for one in given.lesions)
    assert all(one.stack[0, 8, 8] > -500 for one in given.lesions)


def test_depth_is_compared_on_lung_away_from_the_nodule(tmp_path: Path) -> None:
    """2-D, 2.5-D and 3-D draw the same middle slices; without a nodule there is no comparison."""
    path = _file(tmp_path, _reader(5, _square(0.0, 20, 30)), _reader(4, _square(0.0, 20, 30)))
    grown = np.full((8, 96, 96), 40.0, dtype=np.float32)
    grown[:, 16:80, 16:80] = -850.0
    grown[:, 22:28, 22:28] = 40.0
    grown[:, [0, -1]] = grown[:, :, [0, -1]] = -1000.0
    volume = Volume(grown, _volume().affine, "CT", "CHEST")
    scan = Scan("s-1", "s", volume, np.ones(8, dtype=bool), np.zeros(grown.shape, dtype=bool))
    found = depth.compare([(scan, lidc.read(path))], SMALL, Run(), seeds=1)
    assert [one.variant for one in found] == ["2-D", "2.5-D", "3-D"]
    assert all(one.patches == 1 and 0 < one.error < 1 for one in found)
    with pytest.raises(ModelError, match="needs nodules"):
        depth.compare([(scan, lidc.Annotation("1", ()))], SMALL, Run(), seeds=1)
