"""NIfTI and Analyze files as Volumes: orientation, grid and the checks that every reader shares.

A file holds an array and an affine to patient coordinates in RAS; a `Volume` has its axes in the
order slice, row, column and an affine to LPS. The slice axis is the one with the largest spacing,
as that is how the scan was acquired; where no spacing stands out, the one nearest to head-foot.
The axes are then turned to the usual layout of a DICOM series:

* axial: slices towards the head, rows to the back, columns to the patient's left;
* coronal: slices to the back, rows towards the feet, columns to the patient's left;
* sagittal: slices to the patient's left, rows towards the feet, columns to the back.

Turning is exact: axes are exchanged and reversed, and the affine with them; nothing is resampled.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.volume import Volume

FEWEST_PIXELS = 16
"""Fewest rows and columns of a scan."""
STANDS_OUT = 1.05
"""How many times the other spacings the largest is, to be taken for the distance of slices."""
_LAYOUTS = (("L", "I", "P"), ("P", "I", "L"), ("S", "P", "L"))
"""Towards what slices, rows and columns run, by the patient axis (x, y, z) of the slices."""
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ANALYZE_LAYOUTS = {1: "LSA", 2: "ASL", 3: "LPS", 4: "LIA", 5: "ASR"}
"""Towards what the axes of an Analyze 7.5 file run, by its header's ``orient``, for all but 0."""


def read_volume(path: Path, modality: str, body_part: str = "", sequence: str = "") -> Volume:
    """Return the scan in a NIfTI or Analyze file.

    Args:
        path: ``.nii``, ``.nii.gz``, or the ``.hdr`` or ``.img`` of a pair.
        modality: DICOM Modality.
        body_part: see `Volume`.
        sequence: see `Volume`.

    Raises:
        ModelError: if the file cannot be read, is not one 3-D image of numbers that are all
            finite, has fewer than `FEWEST_PIXELS` rows or columns, has no usable affine, or holds
            one and the same value everywhere.
    """
    image = _opened(path)
    turned = _turned(image, _layout(image.affine))
    if min(turned.shape[1:]) < FEWEST_PIXELS:
        raise ModelError(
            f"{path}: a scan has at least {FEWEST_PIXELS} rows and columns, not {turned.shape}"
        )
    array = _loaded(image, turned)
    if array.min() == array.max():
        raise ModelError(f"{path}: a scan has contrast; every voxel here has the same value")
    return Volume(array, turned.affine, modality, body_part, sequence)


def read_like(path: Path, volume: Volume) -> NDArray[np.float32]:
    """Return the image in a file that lies on the grid of `volume`: float32, like the volume.

    Raises:
        ModelError: as in `read_volume`, or if the file's grid is another one.
    """
    image = _opened(path)
    return _loaded(image, _turned_like(image, volume))


class OnDisk(Mapping[str, NDArray[np.float32]]):
    """Images on the grid of a volume by name, each read from its file whenever it is asked for.

    The grids are checked at once and the voxels not read, so that a scan with many companions
    costs the memory of those in use only. Nothing is kept between readings.

    Raises:
        ModelError: if a file cannot be read or lies on another grid.
    """

    def __init__(self, paths: Mapping[str, Path], volume: Volume) -> None:
        self._paths = dict(sorted(paths.items()))
        self._volume = volume
        for path in self._paths.values():
            _turned_like(_opened(path), volume)

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return read_like(self._paths[name], self._volume)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """A file as it is: 3-D shape, RAS affine, and the lazy voxels."""

    path: Path
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    voxels: Any  # nibabel's array proxies are untyped


@dataclass(frozen=True, slots=True, eq=False)
class _Turned:
    """How a file's axes become slice, row, column, and the LPS affine afterwards."""

    transform: NDArray[np.float64]
    shape: tuple[int, ...]
    affine: NDArray[np.float64]


def _opened(path: Path) -> _Image:
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        image = cast("Any", nibabel.load(path))
        shape = tuple(int(size) for size in image.shape)
        affine = _affine(image)
        kind = np.dtype(image.get_data_dtype()).kind
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        raise ModelError(f"{path}: not a readable NIfTI or Analyze file ({error})") from error
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) == 0:
        raise ModelError(f"{path}: a scan is one 3-D image; this file has the shape {image.shape}")
    if kind not in "biuf":
        raise ModelError(f"{path}: a scan has one real number a voxel")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ModelError(f"{path}: the header states no usable voxel size and orientation")
    return _Image(path, shape, affine, image.dataobj)


def _affine(image: Any) -> NDArray[np.float64]:
    """Return the RAS affine, for an Analyze file by the layout that its header states.

    An Analyze header has no affine; nibabel takes every file for a transverse one (``orient`` 0:
    right to left, back to front, feet to head) and leaves the field unread.
    """
    from nibabel.nifti1 import Nifti1Pair
    from nibabel.orientations import axcodes2ornt
    from nibabel.spm99analyze import SpmAnalyzeHeader

    affine = np.asarray(image.affine, dtype=np.float64)
    if isinstance(image, Nifti1Pair) or not isinstance(image.header, SpmAnalyzeHeader):
        return affine
    layout = _ANALYZE_LAYOUTS.get(int.from_bytes(bytes(image.header["orient"])))
    if layout is None:
        return affine
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    for axis, (patient_axis, sign) in enumerate(axcodes2ornt(layout)):
        affine[int(patient_axis), axis] = sign * image.header.get_zooms()[axis]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(image.shape[:3]) - 1) / 2)
    return affine


def _layout(affine: NDArray[np.float64]) -> tuple[str, str, str]:
    """Return towards what the slices, rows and columns of a file's scan shall run."""
    from nibabel.orientations import io_orientation

    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    smaller, largest = np.sort(spacing)[1:]
    if largest > STANDS_OUT * smaller:
        axis = int(np.argmax(spacing))
    else:
        axis = int(np.argmax(np.abs(affine[2, :3]) / spacing))
    return _LAYOUTS[int(io_orientation(affine)[axis, 0])]


def _turned(image: _Image, layout: tuple[str, ...]) -> _Turned:
    from nibabel.orientations import (
        axcodes2ornt,
        inv_ornt_aff,
        io_orientation,
        ornt_transform,
    )

    transform = ornt_transform(io_orientation(image.affine), axcodes2ornt(layout))
    order = np.argsort(transform[:, 0])
    affine = _TO_LPS @ image.affine @ inv_ornt_aff(transform, image.shape)
    return _Turned(transform, tuple(image.shape[axis] for axis in order), affine)


def _turned_like(image: _Image, volume: Volume) -> _Turned:
    from nibabel.orientations import aff2axcodes

    turned = _turned(image, aff2axcodes(_TO_LPS @ volume.affine))
    if turned.shape != volume.array.shape:
        raise ModelError(
            f"{image.path}: lies on another grid than its scan "
            f"({turned.shape} voxels, not {volume.array.shape})"
        )
    corners = np.array([[*np.ravel(corner), 1.0] for corner in np.ndindex(2, 2, 2)])
    corners[:, :3] *= np.array(turned.shape) - 1
    apart = float(np.linalg.norm((turned.affine - volume.affine) @ corners.T, axis=0).max())
    if apart > 0.5 * min(volume.spacing):
        raise ModelError(
            f"{image.path}: lies on another grid than its scan (a corner is {apart:.1f} mm away)"
        )
    return turned


def _loaded(image: _Image, turned: _Turned) -> NDArray[np.float32]:
    from nibabel.orientations import apply_orientation

    try:
        voxels = np.asarray(image.voxels, dtype=np.float32).reshape(image.shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ModelError(f"{image.path}: the file is incomplete or damaged ({error})") from error
    if not np.isfinite(voxels).all():
        raise ModelError(f"{image.path}: a scan's voxels are finite numbers; some here are not")
    return np.ascontiguousarray(apply_orientation(voxels, turned.transform), dtype=np.float32)
