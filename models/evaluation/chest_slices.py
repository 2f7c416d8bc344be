"""Chest CT slices: do frozen features tell slices of patients from those of normal people?

    python -m models.evaluation.chest_slices ../shared/data/chest_ct_iqoth

The set (IQ-OTH/NCCD) has single slices, windowed to 8 bit, with neither Hounsfield units nor
patient identity, so no bundle can be made of it; this measures one detector on it. Each slice is
cropped to the body; the features are those of block 4 of the frozen network, averaged over the
body; the score is their Mahalanobis distance from normal slices (Lee et al., NeurIPS 2018;
covariance shrunk by Ledoit and Wolf). Beside it stand floors that know nothing of lungs: grey
level, and the size and shape of the body in the frame. Class and scanner are confounded in this
set, and the floors show it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, transform
from torch.nn import functional

from models import shared_weights
from models.evaluation.intervals import Figure
from models.evaluation.patients import cluster_auroc
from models.features import backbone
from models.features.backbone import STRIDES, Backbone
from models.scan import Scan
from models.sources import SOURCES

BLOCK = 4
ROWS, COLUMNS = 192, 256
FLOORS = ("median grey", "body's share of the frame", "body's height over its width")


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One slice as it is judged.

    Attributes:
        label: ``normal``, ``benign`` or ``malignant``.
        patient: whose it probably is.
        features: (channels,): mean over the body.
        floors: (3,): the values of `FLOORS`.
    """

    label: str
    patient: str
    features: NDArray[np.float64]
    floors: NDArray[np.float64]


def body(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the body of a slice: brighter than air, largest component, holes filled."""
    smooth = cast("NDArray[np.float32]", ndimage.gaussian_filter(image, 1.5))
    bright = smooth > 0.6 * float(filters.threshold_otsu(smooth))
    opened = ndimage.binary_opening(bright, iterations=2)
    labels, count = cast("tuple[NDArray[np.int32], int]", ndimage.label(opened))
    if count == 0:
        return np.ones(image.shape, dtype=np.bool_)
    largest = labels == int(np.bincount(labels.ravel())[1:].argmax()) + 1
    closed = ndimage.binary_closing(largest, iterations=3)
    return cast("NDArray[np.bool_]", ndimage.binary_fill_holes(closed))


def described(scans: Iterable[Scan], network: Backbone) -> list[Slice]:
    """Return the features and floors of each scan's only slice."""
    found: list[Slice] = []
    for scan in scans:
        image = scan.volume.array[0]
        mask = body(image)
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        shape = (ROWS, COLUMNS)
        crop = transform.resize(
            np.where(mask, image, 0)[box], shape, order=1, anti_aliasing=True, preserve_range=True
        )
        inside = transform.resize(mask[box].astype(np.float32), shape, order=1) > 0.5
        pixels = torch.from_numpy(np.asarray(crop, np.float32))[None, None] / 127.5 - 1.0
        weight = functional.avg_pool2d(
            torch.from_numpy(np.asarray(inside, np.float32))[None, None], STRIDES[BLOCK]
        )
        with torch.inference_mode():
            (output,) = network(pixels, (BLOCK,))
        pooled = (output * weight).sum((2, 3))[0] / weight.sum()
        grey = float(np.median(image[mask]))
        height, width = box[0].stop - box[0].start, box[1].stop - box[1].start
        floors = np.array([grey, float(mask.mean()), height / width])
        found.append(Slice(scan.label, scan.subject, pooled.double().numpy(), floors))
    return found


def measure(folder: Path) -> dict[str, dict[str, Figure]]:
    """Return for each class the AUROC against normal slices, with patients resampled.

    Fitted on the normal slices of `train`; measured on `dev`. Each floor counts in the direction
    that serves it best.
    """
    from sklearn.covariance import LedoitWolf

    network = backbone.from_weights(shared_weights.read(shared_weights.BACKBONE))
    source = SOURCES["chest_ct_iqoth"]
    train = described(source.read(folder, "train"), network)
    dev = described(source.read(folder, "dev"), network)
    reference = np.stack([one.features for one in train])
    middle = reference.mean(axis=0)
    precision = np.asarray(LedoitWolf().fit(reference).precision_, dtype=np.float64)
    offsets = np.stack([one.features for one in dev]) - middle
    scores = {"features": np.einsum("ij,jk,ik->i", offsets, precision, offsets)}
    for index, name in enumerate(FLOORS):
        values = np.array([one.floors[index] for one in dev])
        scores[f"floor: {name}"] = values
    return {
        label: {name: _auroc(dev, values, label, name) for name, values in scores.items()}
        for label in ("malignant", "benign")
    }


def _auroc(dev: list[Slice], values: NDArray[np.float64], label: str, name: str) -> Figure:
    normal = np.array([one.label == "normal" for one in dev])
    abnormal = np.array([one.label == label for one in dev])
    patients = np.array([one.patient for one in dev])
    both = normal | abnormal

    def figure(sign: float) -> Figure:
        return cluster_auroc(
            (sign * values[both]).tolist(), abnormal[both].tolist(), patients[both].tolist()
        )

    upright = figure(1.0)
    return figure(-1.0) if upright.value < 0.5 and name.startswith("floor") else upright


if __name__ == "__main__":
    torch.set_num_threads(2)
    for kind, figures in measure(Path(sys.argv[1])).items():
        for detector, value in figures.items():
            sys.stdout.write(f"{kind:10s} {detector:40s} {value}\n")
