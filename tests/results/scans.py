"""Scans of any orientation, spacing, tilt and order of arrival, with a bright box in each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage
from work.phantoms import image

from gatekeeper.identifiers import Digest
from gatekeeper.work.geometry import LARGEST_TILT_DEGREES, SHEAR_TOLERANCE_DEGREES
from models.finding import Finding, Level
from models.regions import regions
from models.volume import Volume

Vector = NDArray[np.float64]

AXIAL, CORONAL, SAGITTAL = (
    (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
)
BRIGHT = 1000


@dataclass(frozen=True)
class Scan:
    """A scan with a bright box in it, and the place in the patient that the box was meant for.

    Attributes:
        orientation: unit vectors along a row and down a column.
        spacing: mm between slices, rows and columns.
        shape: slices, rows and columns.
        origin: position of the first slice.
        backwards: whether the slices run against the normal.
        tilt: degrees between the stack's line and the normal, and the direction of the shift.
        enhanced: multi-frame instances that the slices are shared out to; 0 for one each.
        order: the order in which slices are numbered and arrive.
        voxel: index of the box's middle voxel.
        reach: voxels that the box extends from its middle, along each axis.
        aside: where in the middle voxel the place is, as shares of the voxel from its centre.
    """

    orientation: tuple[float, ...]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    origin: tuple[float, float, float]
    backwards: bool
    tilt: tuple[float, float]
    enhanced: int
    order: tuple[int, ...]
    voxel: tuple[int, int, int]
    reach: tuple[int, int, int]
    aside: tuple[float, float, float]

    @property
    def steps(self) -> Vector:
        """Columns are the steps in mm from a slice, a row and a column to the next."""
        across, down = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        normal = np.cross(across, down) * (-1 if self.backwards else 1)
        shear, turn = np.radians(self.tilt)
        sideways = np.tan(shear) * (np.cos(turn) * across + np.sin(turn) * down)
        depth, dy, dx = self.spacing
        return np.stack([depth * (normal + sideways), dy * down, dx * across], axis=1)

    @property
    def place(self) -> Vector:
        """The place in the patient, LPS mm."""
        return np.array(self.origin) + self.steps @ np.add(self.voxel, self.aside)

    @property
    def pixels(self) -> NDArray[np.uint16]:
        """Stored values: a dim gradient with the bright box."""
        found = (np.indices(self.shape).sum(axis=0) % 7 * 20).astype(np.uint16)
        box = tuple(
            slice(middle - reach, middle + reach + 1)
            for middle, reach in zip(self.voxel, self.reach, strict=True)
        )
        found[box] = BRIGHT
        return found

    def position(self, index: int) -> list[float]:
        """Return the position of a slice."""
        return [round(float(x), 9) for x in np.array(self.origin) + self.steps[:, 0] * index]

    @property
    def shares(self) -> list[tuple[int, ...]]:
        """The slices of each multi-frame instance, by its number from 1, in frame order."""
        return [self.order[part :: self.enhanced] for part in range(self.enhanced)]

    def instances(self) -> list[Dataset]:
        """Return the scan as a scanner would send it."""
        if self.enhanced:
            return [self._frames(number, share) for number, share in enumerate(self.shares)]
        return [self._slice(number, index) for number, index in enumerate(self.order)]

    def _cosines(self) -> list[float]:
        return [round(part, 12) for part in self.orientation]

    def _slice(self, number: int, index: int) -> Dataset:
        return image(
            number,
            shape=self.shape[1:],
            position=self.position(index),
            orientation=self._cosines(),
            PixelSpacing=list(self.spacing[1:]),
            SliceThickness=self.spacing[0],
            PixelData=self.pixels[index].astype("<u2").tobytes(),
        )

    def _frames(self, number: int, share: tuple[int, ...]) -> Dataset:
        target = self._slice(number, share[0])
        shared, orientation, measures = Dataset(), Dataset(), Dataset()
        orientation.ImageOrientationPatient = target.ImageOrientationPatient
        measures.PixelSpacing = target.PixelSpacing
        measures.SliceThickness = target.SliceThickness
        shared.PlaneOrientationSequence = [orientation]
        shared.PixelMeasuresSequence = [measures]
        for keyword in (
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "SliceThickness",
        ):
            delattr(target, keyword)
        target.SOPClassUID = EnhancedMRImageStorage
        target.NumberOfFrames = len(share)
        target.SharedFunctionalGroupsSequence = [shared]
        groups: list[Dataset] = []
        for index in share:
            group, position = Dataset(), Dataset()
            position.ImagePositionPatient = self.position(index)
            group.PlanePositionSequence = [position]
            groups.append(group)
        target.PerFrameFunctionalGroupsSequence = groups
        target.PixelData = self.pixels[list(share)].astype("<u2").tobytes()
        return target


def bright_places(volume: Volume) -> Finding:
    """Return the answer of a detector whose map is the scan itself."""
    threshold = BRIGHT / 2
    return Finding(
        score=9.0,
        p_value=0.05,
        levels=(Level("focal", "Is every place like the same place?", 9.0, 0.05, 19, 4.0),),
        map=volume.array,
        map_unit="brightness",
        map_threshold=threshold,
        map_maximum=BRIGHT,
        regions=regions(volume, volume.array, threshold, 0.0),
        display_window=(500.0, 1000.0),
        detector="features",
        profile="phantom",
        bundle_version="1",
        model_digest=Digest.of(b"bundle"),
        calibration_digest=Digest.of(b"calibration"),
        calibration_description="None.",
        milliseconds={},
    )


def _rotation(values: list[float]) -> tuple[float, ...]:
    """Return the row and column directions of a random rotation."""
    first, second = np.array(values[:3]), np.array(values[3:])
    across = first / np.linalg.norm(first)
    down = second - (second @ across) * across
    return (*across.tolist(), *(down / np.linalg.norm(down)).tolist())


def _is_a_basis(values: list[float]) -> bool:
    first, second = np.array(values[:3]), np.array(values[3:])
    return bool(np.linalg.norm(np.cross(first, second)) > 0.1)


oblique = st.lists(st.floats(-1, 1), min_size=6, max_size=6).filter(_is_a_basis).map(_rotation)


@st.composite
def scans(draw: st.DrawFn) -> Scan:
    """Draw any scan that the reader takes."""
    shape = (draw(st.integers(5, 7)), draw(st.integers(8, 20)), draw(st.integers(8, 20)))
    tilt = draw(st.floats(0, 0.9 * SHEAR_TOLERANCE_DEGREES) | st.floats(0, LARGEST_TILT_DEGREES))
    # What is one box along a sheared grid is a stair of several in the patient.
    deepest = 0 if tilt > SHEAR_TOLERANCE_DEGREES else 1
    reach = (draw(st.integers(0, deepest)), draw(st.integers(0, 2)), draw(st.integers(0, 2)))
    voxel = tuple(
        draw(st.integers(part, size - 1 - part)) for part, size in zip(reach, shape, strict=True)
    )
    aside = st.floats(-0.49, 0.49)
    place = st.floats(-300, 300)
    return Scan(
        orientation=draw(st.sampled_from([AXIAL, CORONAL, SAGITTAL]) | oblique),
        spacing=(
            draw(st.floats(0.5, 8).map(lambda x: round(x, 3))),
            draw(st.floats(0.3, 4).map(lambda x: round(x, 4))),
            draw(st.floats(0.3, 4).map(lambda x: round(x, 4))),
        ),
        shape=shape,
        origin=(draw(place), draw(place), draw(place)),
        backwards=draw(st.booleans()),
        tilt=(
            tilt,
            draw(st.floats(0, 360)),
        ),
        enhanced=draw(st.integers(0, 2)),
        order=tuple(draw(st.permutations(range(shape[0])))),
        voxel=(voxel[0], voxel[1], voxel[2]),
        reach=reach,
        aside=(draw(aside), draw(aside), draw(aside)),
    )
