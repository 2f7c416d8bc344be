"""LIDC-IDRI's own annotations: what up to four readers drew and said, from their XML file.

Armato et al., The Lung Image Database Consortium and Image Database Resource Initiative, Medical
Physics 2011. Each reader's nodules of 3 mm or more come as closed outlines, slice by slice, with
nine ratings; the same nodule of two readers is not linked in the file. Here outlines become masks,
masks that overlap become one nodule, and its consensus is what half of the readers drew. The
malignancy is the mean of the readers' 1 to 5; what is 3 on the mean is undecided and left out.

The pixels come from elsewhere: this module knows nothing of DICOM files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from skimage import draw

from models.errors import ModelError
from models.volume import Volume

NAMESPACE = "{http://www.nih.gov}"
LARGEST_BYTES = 64 << 20
READERS = 4
"""How many read each scan, whether or not they drew anything."""
UNDECIDED = 3.0
RATINGS = (
    "subtlety", "internalStructure", "calcification", "sphericity", "margin", "lobulation",
    "spiculation", "texture", "malignancy",
)  # fmt: skip
_NEAR_MM = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """One closed line in one slice.

    Attributes:
        z_mm: of the slice, in patient coordinates.
        inside: False for a hole.
        points: int, (n, 2): column and row, in pixels from 0. The line lies just outside the
            nodule, so its own pixels are no part of it.
    """

    z_mm: float
    inside: bool
    points: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A nodule as one reader saw it.

    Attributes:
        reader: place of the reader in the file, from 0.
        ratings: those of `RATINGS` that are there, 1 to 6.
        outlines: in no order.
    """

    reader: int
    ratings: Mapping[str, int]
    outlines: tuple[Outline, ...]


@dataclass(frozen=True, slots=True)
class Annotation:
    """A file.

    Attributes:
        series_uid: SeriesInstanceUID of the scan.
        drawn: the nodules of 3 mm or more that have a rating and an area.
    """

    series_uid: str
    drawn: tuple[Drawn, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Nodule:
    """A nodule on which readers' drawings were brought together.

    Attributes:
        mask: bool, like the volume: the consensus.
        readers: how many drew it.
        ratings: mean of each rating over those readers.
    """

    mask: NDArray[np.bool_]
    readers: int
    ratings: Mapping[str, float]

    @property
    def malignant(self) -> bool | None:
        """Whether the mean rating of malignancy is over 3; None at 3 and without a rating."""
        mean = self.ratings.get("malignancy", UNDECIDED)
        return None if abs(mean - UNDECIDED) < 1e-9 else mean > UNDECIDED


def read(path: Path) -> Annotation:
    """Return what is in an annotation file.

    Raises:
        ModelError: if it cannot be read, is too large, declares entities, or is no LIDC annotation
            of a CT series.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ModelError(f"{path}: too large for an annotation")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read") from error
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ModelError(f"{path}: an annotation declares no entities")
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 - no entities, bounded
        if root.tag != f"{NAMESPACE}LidcReadMessage":
            raise ModelError(f"{path}: not an LIDC annotation of a CT series")
        uid = _text(root, "ResponseHeader/SeriesInstanceUid")
        drawn = [
            one
            for number, session in enumerate(root.iterfind(f"{NAMESPACE}readingSession"))
            for nodule in session.iterfind(f"{NAMESPACE}unblindedReadNodule")
            if (one := _drawn(nodule, number)) is not None
        ]
    except (ElementTree.ParseError, ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not a readable annotation ({error})") from error
    return Annotation(uid, tuple(drawn))


def _drawn(element: ElementTree.Element, reader: int) -> Drawn | None:
    """Return a reader's nodule; None for one under 3 mm, which has a point and no ratings."""
    stated = element.find(f"{NAMESPACE}characteristics")
    if stated is None:
        return None
    ratings = {
        name: int(text)
        for name in RATINGS
        if (text := stated.findtext(f"{NAMESPACE}{name}", "").strip())
    }
    outlines: list[Outline] = []
    for roi in element.iterfind(f"{NAMESPACE}roi"):
        points = [
            (int(_text(edge, "xCoord")), int(_text(edge, "yCoord")))
            for edge in roi.iterfind(f"{NAMESPACE}edgeMap")
        ]
        inside = roi.findtext(f"{NAMESPACE}inclusion", "TRUE").strip().upper() == "TRUE"
        outlines.append(
            Outline(float(_text(roi, "imageZposition")), inside, np.array(points, dtype=np.int64))
        )
    with_area = tuple(one for one in outlines if len(one.points) > 2)
    return Drawn(reader, ratings, with_area) if with_area and ratings else None


def _text(element: ElementTree.Element, path: str) -> str:
    found = element.findtext("/".join(NAMESPACE + part for part in path.split("/")))
    if found is None or not found.strip():
        raise ValueError(f"{path} is missing")
    return found.strip()


def nodules(annotation: Annotation, volume: Volume, readers: int = READERS) -> list[Nodule]:
    """Return the nodules of a scan, by their first slice.

    Drawings of different readers are of one nodule if they share a voxel, directly or through a
    third; two drawings of one reader in it count as one. The consensus is every voxel that at
    least half of `readers` have inside, so a nodule that fewer drew has none and is left out.

    Raises:
        ModelError: if an outline lies in no slice of the volume, or outside its matrix: then the
            annotation is of another scan.
    """
    masks = [_mask(one, volume) for one in annotation.drawn]
    found: list[Nodule] = []
    for group in _overlapping(masks):
        votes = np.zeros(volume.array.shape, dtype=np.int8)
        names = sorted({annotation.drawn[index].reader for index in group})
        for name in names:
            own = [masks[index] for index in group if annotation.drawn[index].reader == name]
            votes += np.any(own, axis=0)
        consensus = 2 * votes >= readers
        if consensus.any():
            rated = [annotation.drawn[index].ratings for index in group]
            found.append(Nodule(consensus, len(names), _means(rated)))
    return sorted(found, key=lambda one: int(np.argmax(one.mask.any(axis=(1, 2)))))


def _means(rated: Sequence[Mapping[str, int]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in RATINGS:
        values = [one[name] for one in rated if name in one]
        if values:
            found[name] = sum(values) / len(values)
    return found


def _mask(drawn: Drawn, volume: Volume) -> NDArray[np.bool_]:
    mask = np.zeros(volume.array.shape, dtype=np.bool_)
    for outline in sorted(drawn.outlines, key=lambda one: not one.inside):
        area = _inner(outline.points, mask.shape[1:])
        level = _slice(outline.z_mm, volume)
        if outline.inside:
            mask[level] |= area
        else:
            mask[level] &= ~area
    return mask


def _inner(points: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    columns, rows = points[:, 0], points[:, 1]
    if points.min() < 0 or rows.max() >= shape[0] or columns.max() >= shape[1]:
        raise ModelError("an outline lies outside the scan's matrix: the annotation is of another")
    area = np.zeros(shape, dtype=np.bool_)
    area[draw.polygon(rows, columns, shape)] = True
    area[draw.polygon_perimeter(rows, columns, shape)] = False
    return area


def _slice(z_mm: float, volume: Volume) -> int:
    """Return the slice at a height, of a stack whose slices lie across the body's axis."""
    heights = volume.affine[2, 3] + volume.affine[2, 0] * np.arange(len(volume.array))
    nearest = int(np.abs(heights - z_mm).argmin())
    if abs(float(heights[nearest]) - z_mm) > _NEAR_MM:
        raise ModelError("an outline lies in no slice of the scan: the annotation is of another")
    return nearest


def _overlapping(masks: Sequence[NDArray[np.bool_]]) -> list[list[int]]:
    """Return the drawings in groups that hang together by shared voxels."""
    groups: list[list[int]] = []
    for index, mask in enumerate(masks):
        touching = [
            group for group in groups if any(bool((masks[other] & mask).any()) for other in group)
        ]
        merged = [index, *(other for group in touching for other in group)]
        groups = [group for group in groups if group not in touching] + [sorted(merged)]
    return groups
