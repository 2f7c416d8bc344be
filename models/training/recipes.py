"""Recipes: for each profile, the data, the settings and what the bundle must say of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.features.config import FeaturesConfig
from models.training import sources
from models.training.sources import Scan


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """How a profile's bundle is made.

    Attributes:
        version: the bundle's version.
        read: yields the scans of a split.
        spacing_known: whether the set states its spacing.
        config: settings; the landmarks are learned.
        memory: patches in memory, over all subjects.
        statements: parts of the manifest that are stated, not computed.
    """

    version: str
    read: Callable[[Path, str], Iterator[Scan]]
    spacing_known: bool
    config: FeaturesConfig
    memory: int
    statements: dict[str, Any]


_HEAD_ALIASES = ["HEAD", "SKULL", "NEURO", "CEREBRUM"]
_INTENDED_USE = (
    "Research. Flags brain MR whose image features depart from the reference scans: acquisition "
    "faults and out-of-profile scans. The heatmap is exploratory. No claim is made for pathology."
)

RECIPES: dict[str, Recipe] = {
    "mr-brain-t1": Recipe(
        version="1.0.0",
        read=sources.oasis,
        spacing_known=True,
        config=FeaturesConfig(),
        memory=9500,
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
                "split": "train",
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
    "mr-brain-flair": Recipe(
        version="1.0.0",
        read=sources.lgg,
        spacing_known=False,
        config=FeaturesConfig(scaled_to_brain=True),
        memory=9500,
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
                "split": "train, slices three or more from any lesion slice",
                "population": "glioma patients of five institutions: the slices are "
                "pseudo-normal; no healthy FLAIR scan was available",
            },
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
}
