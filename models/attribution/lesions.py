"""Attribution of the lesion classifier: occlusion and gradient maps of the malignancy logit.

The score is the raw logit, before calibration, so that a map adds up: positive speaks for
malignant, negative for benign. `EDGES` is no explanation but the control: it looks at the image
alone, and must fail the sanity check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from models.attribution import gradients, sanity
from models.attribution.localisation import Located, Summary, averaged, locate, summary
from models.attribution.occlusion import flat, local_mean, occlusion
from models.attribution.sanity import Explain, Maps, Sanity
from models.errors import ModelError
from models.lesion.config import Config
from models.lesion.lesions import Lesion, tensor
from models.lesion.training import Fitted

LUNG_HU = -850.0
"""What a covered window shows: aerated lung. The usual range is -900 to -700."""
EDGES = "edges (control)"
LUNG, AROUND = "occlusion by lung", "occlusion by surroundings"
GRADIENT, INTEGRATED, SMOOTH = "gradient", "integrated gradients", "SmoothGrad"
METHODS = (LUNG, AROUND, GRADIENT, INTEGRATED, SMOOTH, EDGES)
_NOISE = 0.05


@dataclass(frozen=True, slots=True)
class Settings:
    """How the maps are made.

    Attributes:
        window: side of the covered window in pixels of 1.4 mm.
        stride: pixels between windows.
        blur: deviation of the Gaussian of `AROUND`, in pixels.
        steps: of the integral.
        draws: noisy copies of SmoothGrad, with a deviation of 0.05 of the Hounsfield window.
        randomised: networks with all layers drawn anew.
        cascaded: patches of which the cascade is made: the first.
        seed: of what is drawn.
    """

    window: int = 6
    stride: int = 2
    blur: float = 6.0
    steps: int = gradients.STEPS
    draws: int = 32
    randomised: int = sanity.DRAWS
    cascaded: int = 12
    seed: int = 0


class Malignancy(nn.Module):
    """Patches in [0, 1] to the logit of malignancy, differentiable."""

    def __init__(self, fitted: Fitted) -> None:
        super().__init__()
        self.network = fitted.network
        self.classifier = fitted.classifier

    def forward(self, patches: Tensor) -> Tensor:
        """Return the logit of each patch, (n,)."""
        return self.classifier(self.network.encode(patches).mean)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that the logit passes through, last first."""
        down = [f"network.down.{n}" for n in reversed(range(len(self.network.down)))]
        code = ("network.code", "network.gather")
        return ("classifier.layers.2", "classifier.layers.0", *code, *down)


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """One kind of map of all patches.

    Attributes:
        name: of `METHODS`.
        maps: (n, rows, columns), signed; logit, a pixel of a window's fall or a pixel's share.
        sanity: what randomised networks leave of them.
        place: how much of the size of the maps lies in the lesions; None where none is drawn.
        gap: largest amount by which integrated gradients miss the change of the logit from lung,
            as a part of the mean change; None for the others.
    """

    name: str
    maps: Maps
    sanity: Sanity
    place: Summary | None
    gap: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """Patches with their maps.

    Attributes:
        lesions: what was explained.
        logits: of malignancy, raw, (n,).
        methods: in the order of `METHODS`.
        settings: how they were made.
    """

    lesions: tuple[Lesion, ...]
    logits: NDArray[np.float64]
    methods: tuple[Method, ...]
    settings: Settings


def chosen(lesions: Sequence[Lesion], each: int) -> tuple[Lesion, ...]:
    """Return at most `each` patches of a patient: the most prominent, then the largest."""
    found: list[Lesion] = []
    for patient in sorted({one.patient for one in lesions}):
        own = [one for one in lesions if one.patient == patient]
        own.sort(key=lambda one: (-one.prominence, -int(one.mask.sum()), one.lesion))
        found += own[:each]
    return tuple(found)


def explain(fitted: Fitted, lesions: Sequence[Lesion], settings: Settings) -> Explained:
    """Return the maps of patches, each method with its check.

    Raises:
        ModelError: if there is no patch, or a setting does not fit.
        NotAssessable: if a patch is of another size.
    """
    if not lesions:
        raise ModelError("there is no patch to explain")
    network = Malignancy(fitted).eval()
    patches = tensor([one.stack for one in lesions], fitted.config)
    with torch.no_grad():
        logits = network(patches).double().numpy()
    found: list[Method] = []
    some = explainers(patches[: settings.cascaded], fitted.config, settings)
    for name, one in explainers(patches, fitted.config, settings).items():
        maps = one(network)
        checked = sanity.check(
            one, network, network.layers, seed=settings.seed, draws=settings.randomised,
            cascading=False, trained=maps,
        )  # fmt: skip
        steps = sanity.check(some[name], network, network.layers, seed=settings.seed, draws=0)
        checked = replace(
            checked, layers=steps.layers, ranks=steps.ranks, structures=steps.structures
        )
        gap = _gap(network, patches, fitted.config, settings) if name == INTEGRATED else None
        found.append(Method(name, maps, checked, _place(maps, lesions, settings.seed), gap))
    return Explained(tuple(lesions), logits, tuple(found), settings)


def explainers(patches: Tensor, config: Config, settings: Settings) -> Mapping[str, Explain]:
    """Return what makes each kind of map of these patches from a `Malignancy`."""
    lung = _lung(config)
    around = local_mean(patches, settings.blur)

    def covered(baseline: Tensor | float) -> Explain:
        return lambda network: occlusion(
            cast("Callable[[Tensor], Tensor]", network), patches, baseline,
            window=settings.window, stride=settings.stride,
        )  # fmt: skip

    return {
        LUNG: covered(lung),
        AROUND: covered(around),
        GRADIENT: lambda network: gradients.gradient(network, patches),
        INTEGRATED: lambda network: gradients.integrated(network, patches, lung, settings.steps)[0],
        SMOOTH: lambda network: gradients.smoothed(
            network, patches, _NOISE, settings.draws, settings.seed
        ),
        EDGES: lambda _: edges(patches),
    }


def edges(patches: Tensor) -> Maps:
    """Return the size of the image's own gradient (Sobel), (n, rows, columns)."""
    array = flat(patches, mean=True)
    return np.hypot(ndimage.sobel(array, axis=1), ndimage.sobel(array, axis=2))


def _lung(config: Config) -> float:
    value = (LUNG_HU - config.low) / (config.high - config.low)
    return float(np.clip(value, 0.0, 1.0))


def _gap(network: Malignancy, patches: Tensor, config: Config, settings: Settings) -> float:
    lung = _lung(config)
    _, gap = gradients.integrated(network, patches, lung, settings.steps)
    with torch.no_grad():
        change = network(patches) - network(torch.full_like(patches[:1], lung))
    return float(np.abs(gap).max() / max(float(change.abs().mean()), 1e-6))


def _place(maps: Maps, lesions: Sequence[Lesion], seed: int) -> Summary | None:
    by_patient: dict[str, list[Located]] = {}
    everywhere = np.ones(maps.shape[1:], dtype=np.bool_)
    for one, lesion in zip(maps, lesions, strict=True):
        located = locate(np.abs(one), lesion.mask, everywhere)
        if located is not None:
            by_patient.setdefault(lesion.patient, []).append(located)
    if not by_patient:
        return None
    return summary([averaged(own) for own in by_patient.values()], seed)
