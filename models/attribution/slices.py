"""Slices of brain scans with where a transformer looked, and against the lesion where one is drawn.

Of each scan one slice is explained: the most surprising, or the one with the most lesion. Judged
are its most surprising tokens, as they make the score. Beside the roll-out stand three others that
it must be better than to be of use: the surprise itself (where the judged tokens lie), the roll-out
of a randomised transformer for the same tokens, and chance (the lesion's share of the brain).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models import brain_extraction, shared_weights
from models.attribution import sanity
from models.attribution.localisation import Located, Summary, locate, summary
from models.attribution.looking import Looked
from models.attribution.occlusion import local_mean, occlusion
from models.attribution.sanity import Maps, Sanity
from models.attribution.token_bundles import COVERED, SliceScore, TokenBundle, share
from models.errors import ModelError, NotAssessable
from models.grid import canonical, interpolate
from models.prepare import Prepared, located, normalised, resampled
from models.scan import Scan
from models.volume import Volume

ROLLOUT, OCCLUSION = "roll-out", "occlusion by surroundings"
SURPRISE, RANDOM = "surprise (the score itself)", "roll-out of a randomised network"
SURPRISING, LESION = "surprising", "lesion"
WHICH = (SURPRISING, LESION)


@dataclass(frozen=True, slots=True)
class Settings:
    """How slices are explained.

    Attributes:
        which: slice of a scan, of `WHICH`.
        fraction: part of the brain's tokens that is judged.
        occluded: of how many scans an occlusion map is made; each takes a pass of the transformer
            for every window.
        window: side of the covered window in tokens; windows lie side by side.
        blur: deviation in pixels of the Gaussian that covers.
        randomised: transformers with all layers drawn anew; for occlusion one.
        cascaded: of how many scans the cascade is made: the first.
        seed: of what is drawn.
    """

    which: str = SURPRISING
    fraction: float = 0.05
    occluded: int = 0
    window: int = 2
    blur: float = 8.0
    randomised: int = sanity.DRAWS
    cascaded: int = 6
    seed: int = 0

    def check(self) -> None:
        """Refuse settings that do not fit.

        Raises:
            ModelError: naming the rule broken.
        """
        if self.which not in WHICH:
            raise ModelError(f"the slice is one of {', '.join(WHICH)}, not {self.which!r}")
        if not 0 < self.fraction <= 1 or self.window < 1 or self.randomised < 1:
            raise ModelError("fraction lies in (0, 1]; window and randomised are at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One slice of a scan, explained.

    Attributes:
        scan, subject: whose it is.
        level: on the working grid, 0 lowest.
        image: float32, (rows, columns), normalised.
        brain: bool, like it.
        lesion: bool, like it; nothing where none is drawn.
        surprise: (token rows, token columns), as the bundle scores it.
        judged: bool, like it: the tokens asked about.
        looked: where the transformer looked.
        looked_check: what randomised transformers leave of it.
        occluded: (rows, columns), fall of the slice's score; None where not made.
        occluded_check: what randomised transformers leave of it.
        places: name of a map -> where it lies against the lesion; empty without a lesion.
    """

    scan: str
    subject: str
    level: int
    image: NDArray[np.float32]
    brain: NDArray[np.bool_]
    lesion: NDArray[np.bool_]
    surprise: NDArray[np.float64]
    judged: NDArray[np.bool_]
    looked: Looked
    looked_check: Sanity
    occluded: NDArray[np.float64] | None
    occluded_check: Sanity | None
    places: Mapping[str, Located]


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """Slices of several scans.

    Attributes:
        slices: one a scan.
        checks: method -> its check over all slices.
        places: name of a map -> its place over subjects; empty without lesions.
        refused: scans that could not be judged.
        seen_is: what `Looked.seen` is the share of.
        settings: how they were made.
    """

    slices: tuple[Slice, ...]
    checks: Mapping[str, Sanity]
    places: Mapping[str, Summary]
    refused: int
    seen_is: str
    settings: Settings


def explain(
    bundle: TokenBundle,
    scans: Iterable[Scan],
    settings: Settings,
    progress: Callable[[str], None] = lambda _: None,
) -> Explained:
    """Return one explained slice of each scan.

    Args:
        bundle: opened.
        scans: with lesions where somebody drew them.
        settings: which slice, and how.
        progress: told each scan's name when it is begun.

    Raises:
        ModelError: if no scan could be judged, or a setting does not fit.
    """
    settings.check()
    network = brain_extraction.from_weights(shared_weights.read(shared_weights.BRAIN_EXTRACTION))
    found: list[Slice] = []
    refused = 0
    for scan in scans:
        progress(scan.name)
        try:
            place = located(scan.volume, bundle.config.anatomy, network)
            prepared = resampled(place, bundle.config)
            lesion = on_grid(scan, prepared)
            ready = normalised(prepared, bundle.config)
        except NotAssessable:
            refused += 1
            continue
        one = explained(
            bundle, scan, ready, lesion, settings,
            occluding=len(found) < settings.occluded, cascading=len(found) < settings.cascaded,
        )  # fmt: skip
        if one is None:
            refused += 1
        else:
            found.append(one)
    if not found:
        raise ModelError("no scan could be explained")
    return Explained(
        tuple(found), _checks(found), _places(found, settings.seed), refused, bundle.seen_is,
        settings,
    )  # fmt: skip


def on_grid(scan: Scan, prepared: Prepared) -> NDArray[np.bool_]:
    """Return the scan's lesion on the working grid, (levels, rows, columns)."""
    volume = scan.volume
    drawn = Volume(scan.lesion.astype(np.float32), volume.affine, volume.modality)
    array = canonical(drawn).array  # (columns, rows, levels)
    for axis, at in enumerate(reversed(prepared.positions)):
        array = interpolate(array, axis, at)
    return array.transpose(2, 1, 0) > 0.5


def explained(
    bundle: TokenBundle,
    scan: Scan,
    prepared: Prepared,
    lesion: NDArray[np.bool_],
    settings: Settings,
    *,
    occluding: bool,
    cascading: bool = True,
) -> Slice | None:
    """Return a scan's slice; None if no slice has brain, or none the lesion asked for.

    Args:
        bundle: opened.
        scan: whose it is.
        prepared: normalised.
        lesion: on the working grid, (levels, rows, columns).
        settings: which slice, and how.
        occluding: whether an occlusion map is made.
        cascading: whether the roll-out's cascade is.
    """
    images = torch.from_numpy(prepared.images).float()[:, None]
    level = _level(bundle, images, prepared.brain, lesion & prepared.brain, settings)
    if level is None:
        return None
    image, brain = images[level], prepared.brain[level]
    covered = share(brain, bundle.side) >= COVERED
    surprise = bundle.surprise(image[None], level)[0].double().numpy()
    judged = _judged(surprise, covered, settings.fraction)

    def looked(transformer: nn.Module) -> Looked:
        return bundle.looked(transformer, image, level, judged)

    here = looked(bundle.transformer)
    check = sanity.check(
        lambda other: looked(other).times[None], bundle.transformer, bundle.layers,
        seed=settings.seed, draws=settings.randomised, inside=(covered & here.reached)[None],
        cascading=cascading, trained=here.times[None],
    )  # fmt: skip
    occluded, occluded_check = None, None
    if occluding:
        occluded, occluded_check = _occluded(bundle, image, level, brain, covered, settings)
    own = lesion[level] & brain
    part, inside = share(own, bundle.side), share(brain, bundle.side) * covered
    random = sanity.randomised(bundle.transformer, bundle.layers, settings.seed + 1)
    maps = {ROLLOUT: here.times, RANDOM: looked(random).times}
    maps[SURPRISE] = np.maximum(surprise, 0.0)
    places = {name: locate(one, part, inside) for name, one in maps.items()}
    if occluded is not None:
        places[OCCLUSION] = locate(occluded, own, brain)
    return Slice(
        scan.name, scan.subject, level, prepared.images[level], brain, own, surprise, judged,
        here, check, occluded, occluded_check,
        {name: one for name, one in places.items() if one is not None},
    )  # fmt: skip


def _level(
    bundle: TokenBundle,
    images: Tensor,
    brain: NDArray[np.bool_],
    lesion: NDArray[np.bool_],
    settings: Settings,
) -> int | None:
    if settings.which == LESION:
        sizes = lesion.sum(axis=(1, 2))
        return int(sizes.argmax()) if sizes.any() else None
    best: tuple[float, int] | None = None
    for level, image in enumerate(images):
        covered = share(brain[level], bundle.side) >= COVERED
        if covered.any():
            score = SliceScore(bundle, level, covered, settings.fraction)
            value = float(score(image[None])[0])
            best = max(best, (value, level)) if best is not None else (value, level)
    return None if best is None else best[1]


def _judged(
    surprise: NDArray[np.float64], covered: NDArray[np.bool_], fraction: float
) -> NDArray[np.bool_]:
    """Return the most surprising tokens of the brain."""
    count = max(1, round(fraction * int(covered.sum())))
    order = np.argsort(np.where(covered, surprise, -np.inf), axis=None)
    found = np.zeros(covered.size, dtype=np.bool_)
    found[order[-count:]] = True
    return found.reshape(covered.shape)


def _occluded(
    bundle: TokenBundle,
    image: Tensor,
    level: int,
    brain: NDArray[np.bool_],
    covered: NDArray[np.bool_],
    settings: Settings,
) -> tuple[NDArray[np.float64], Sanity]:
    inside = torch.from_numpy(brain)[None, None]
    around = local_mean(image[None], settings.blur, inside)
    window = settings.window * bundle.side

    def made(transformer: nn.Module) -> Maps:
        score = SliceScore(bundle.having(transformer), level, covered, settings.fraction)
        return occlusion(score, image[None], around, window=window, stride=window, at_once=8)

    here = made(bundle.transformer)
    check = sanity.check(
        made, bundle.transformer, bundle.layers, seed=settings.seed, draws=1,
        inside=brain[None], cascading=False, trained=here,
    )  # fmt: skip
    return here[0], check


def _checks(slices: Sequence[Slice]) -> dict[str, Sanity]:
    found = {ROLLOUT: sanity.joined([one.looked_check for one in slices])}
    occluded = [one.occluded_check for one in slices if one.occluded_check is not None]
    return found | ({OCCLUSION: sanity.joined(occluded)} if occluded else {})


def _places(slices: Sequence[Slice], seed: int) -> dict[str, Summary]:
    found: dict[str, Summary] = {}
    for name in (SURPRISE, ROLLOUT, RANDOM, OCCLUSION):
        own = [one.places[name] for one in slices if name in one.places]
        if own:
            found[name] = summary(own, seed)
    return found
