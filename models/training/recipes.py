"""Recipes: what a bundle's profile must say of itself, and what its detectors are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from models.errors import ModelError


@dataclass(frozen=True, slots=True)
class Profile:
    """Which series a bundle may judge, by which reference.

    Attributes:
        name: for example ``mr-brain-t1``.
        version: of the bundles made by it.
        folder: of the reference set, inside the folder of all sets.
        settings: of every detector's working grid.
        by_detector: further settings, detector by detector.
        statements: parts of the manifest that are stated, not computed.
    """

    name: str
    version: str
    folder: str
    settings: Mapping[str, Any]
    by_detector: Mapping[str, Mapping[str, Any]]
    statements: dict[str, Any]

    def settings_for(self, detector: str) -> dict[str, Any]:
        """Return the settings of a detector under this profile."""
        return dict(self.settings) | dict(self.by_detector.get(detector, {}))


@dataclass(frozen=True, slots=True)
class MemberRecipe:
    """One detector of a bundle.

    Attributes:
        name: in the bundle.
        detector: which one.
        map_weight: its part in the bundle's map.
        deciding: its levels that decide; empty for all of them.
        map_by_place: whether its map is standardised at each place.
        folds: of cross-fitting, where the caller asks for no other number.
        settings: that differ from the detector's own.
    """

    name: str
    detector: str
    map_weight: float = 1.0
    deciding: tuple[str, ...] = ()
    map_by_place: bool = False
    folds: int = 1
    settings: dict[str, Any] = field(default_factory=dict[str, Any])


_EVERY_SUBJECT = 1000
DEFAULT = "gate"
"""The detector whose bundle answers for its profile where a site has chosen no other."""


def _gate(*quality: str) -> tuple[MemberRecipe, ...]:
    """Return the members of a gate in which these levels of quality decide.

    Global evidence of features and of image quality; a map of what is strange in brightness at each
    place, with the least weight of the features' map that is within one standard error of the best
    on development patients (docs/experiments.md).
    """
    return (
        MemberRecipe("features", "features", 0.25, ("global",), folds=_EVERY_SUBJECT),
        MemberRecipe("quality", "quality", 0.0, quality, folds=_EVERY_SUBJECT),
        MemberRecipe("atlas", "atlas", 1.0, ("place",), folds=_EVERY_SUBJECT),
    )


MEMBERS: dict[str, tuple[MemberRecipe, ...]] = {
    "gate": _gate("artefacts"),
    # For a reference of the site's own scanner: there, all measures of quality may decide.
    "gate-site": _gate("artefacts", "measures"),
    "features": (MemberRecipe("features", "features", folds=_EVERY_SUBJECT),),
    "intensity": (MemberRecipe("intensity", "intensity", folds=_EVERY_SUBJECT),),
    "atlas": (MemberRecipe("atlas", "atlas", folds=10),),
    "quality": (MemberRecipe("quality", "quality", folds=_EVERY_SUBJECT),),
    "two-stage": (MemberRecipe("two-stage", "two-stage", map_by_place=True),),
    "vq-autoregressive": (MemberRecipe("vq-autoregressive", "vq-autoregressive"),),
    "autoencoder": (MemberRecipe("autoencoder", "autoencoder", map_by_place=True),),
    "vae": (MemberRecipe("vae", "autoencoder", map_by_place=True, settings={"kind": "vae"}),),
    "siamese": (MemberRecipe("siamese", "siamese"),),
}
"""What `gatekeeper model train` can be asked for -> the members of the bundle."""


def profile(name: str) -> Profile:
    """Return a profile: one of `PROFILES`, or a site's own, from the JSON file at that path.

    Raises:
        ModelError: if there is none, or the file does not state what a bundle must say of itself.
    """
    if name in PROFILES:
        return PROFILES[name]
    path = Path(name)
    if path.suffix != ".json" or not path.is_file():
        raise ModelError(
            f"no profile {name!r}; there are: {', '.join(PROFILES)}, or a JSON file of your own"
        )
    try:
        stated = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
        statements = {key: stated[key] for key in _STATED}
        if set(statements["profile"]) != _MATCHED or not statements["data"]["name"]:
            raise ModelError(f"profile {path.name}: `profile` must state {', '.join(_MATCHED)}")
        return Profile(
            str(stated["name"]),
            str(stated.get("version", "1.0.0")),
            "",
            dict(stated.get("settings", {})),
            {},
            statements,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"profile {path.name}: {error!r} is missing or not readable") from error


_STATED = ("profile", "data", "intended_use", "not_tested_on", "weights_licence")
_MATCHED = {
    "modality",
    "body_part",
    "body_part_aliases",
    "sequence",
    "sequence_aliases",
    "body_part_from_content",
}

_HEAD_ALIASES = ["HEAD", "SKULL", "NEURO", "CEREBRUM"]
_INTENDED_USE = (
    "Research. Flags brain MR whose image features depart from the reference scans: acquisition "
    "faults and out-of-profile scans. The heatmap is exploratory. No claim is made for pathology."
)

PROFILES: dict[str, Profile] = {
    "mr-brain-t1": Profile(
        name="mr-brain-t1",
        version="2.0.0",
        folder="brain_t1_healthy_oasis",
        settings={},
        by_detector={},
        statements={
            "profile": {
                "modality": "MR",
                "body_part": "BRAIN",
                "body_part_aliases": _HEAD_ALIASES,
                "sequence": "T1",
                "sequence_aliases": ["T1W", "MPRAGE", "SPGR", "BRAVO", "TFE"],
                "body_part_from_content": True,
            },
            "data": {
                "name": "OASIS-1 in the MICCAI 2012 multi-atlas set, T1-weighted, skull-stripped",
                "source": "github muschellij2/malf.templates @ ab259cebdbb44a9fd2c9cc1597cee8ea"
                "329c8cc1, inst/extdata/*_SS.nii.gz",
                "licence": "The data will be released under the Creative Commons "
                "Attribution-NonCommercial (CC BY-NC) with no end date. Users should credit the "
                "MRI scans as originating from the OASIS project.",
                "population": "healthy adults, 20 to 90 years, mostly in their twenties; one "
                "1.5 T scanner type; 8-bit axial slices every 2 mm",
            },
            "intended_use": _INTENDED_USE,
            "not_tested_on": [
                "children and adolescents",
                "contrast-enhanced T1",
                "two-dimensional T1 with slices over 2 mm",
                "more than three scans of other scanners",
                "real acquisition faults: only simulated ones",
                "pathology of any kind",
            ],
            "weights_licence": "CC BY-NC (from the data); research only",
        },
    ),
    "mr-brain-flair": Profile(
        name="mr-brain-flair",
        version="2.1.0",
        folder="brain_flair_lgg",
        settings={"scaled_to_brain": True},
        by_detector={
            "intensity": {"sign": 1},
            "atlas": {"sign": 1},
            "autoencoder": {"sign": 1, "median": (3, 5, 5)},
        },
        statements={
            "profile": {
                "modality": "MR",
                "body_part": "BRAIN",
                "body_part_aliases": _HEAD_ALIASES,
                "sequence": "FLAIR",
                "sequence_aliases": ["T2-FLAIR", "T2FLAIR", "DARK-FLUID", "TIRM"],
                "body_part_from_content": True,
            },
            "data": {
                "name": "LGG Segmentation Dataset (Buda, Saha, Mazurowski 2019), FLAIR of TCGA-LGG",
                "source": "github TruongVanHien194276/Brain_Segmentation_data @ 40bfc1f393feb039"
                "a3d3742ba9f536dc6d50d2b0, from The Cancer Imaging Archive",
                "licence": "The repository's README states none. TCIA collections are by default "
                "CC BY 3.0; the derivative's page is remembered as CC BY-NC-SA 4.0, not verified. "
                "Treated as non-commercial research.",
                "slices": "three or more from any lesion slice",
                "population": "glioma patients of five institutions: the slices are "
                "pseudo-normal; no healthy FLAIR scan was available",
            },
            # 13 of 81 clinical stacks of the set end inside the head.
            "tolerated_defects": ["cut_head"],
            "intended_use": _INTENDED_USE,
            "not_tested_on": [
                "healthy FLAIR scans: none was available",
                "children and adolescents",
                "three-dimensional FLAIR, other than one scan",
                "real acquisition faults: only simulated ones",
            ],
            "weights_licence": "non-commercial research (from the data)",
        },
    ),
    "mr-pelvis-t2": Profile(
        name="mr-pelvis-t2",
        version="1.0.0",
        folder="",
        settings={"anatomy": "body", "pixel_mm": 2.5},
        by_detector={},
        statements={
            "profile": {
                "modality": "MR",
                "body_part": "PELVIS",
                "body_part_aliases": ["PROSTATE", "HIP", "BLADDER"],
                "sequence": "T2",
                "sequence_aliases": ["T2W", "TSE", "FSE"],
                "body_part_from_content": False,
            },
            "data": {
                "name": "a site's own T2 scans of the pelvis, or LUND-PROBE",
                "source": "stated by whoever trains",
                "licence": "stated by whoever trains",
                "population": "stated by whoever trains",
            },
            "intended_use": "Research. Flags pelvic MR that departs from the reference scans.",
            "not_tested_on": ["everything: no bundle of this profile is shipped"],
            "weights_licence": "stated by whoever trains",
        },
    ),
}
