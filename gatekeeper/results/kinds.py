"""Kinds: the result objects there are, which a destination takes, and what viewers show.

What a viewer shows is what was seen in it, or is documented; see docs/viewers.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from gatekeeper.errors import GatekeeperError

KINDS: dict[str, str] = {
    "report": "Comprehensive 3D SR, TID 1500",
    "report-2d": "the same as Comprehensive SR, for an archive that refuses the first",
    "report-enhanced": "the same as Enhanced SR, for an archive that refuses both",
    "plain-report": "Basic Text SR, for a viewer that shows no measurements",
    "montage": "one picture of the most suspicious slices",
    "heatmap": "one picture for each source slice",
    "segmentation": "SEG of the regions",
    "parametric-map": "the map's values as floats on the source grid: 4 bytes a voxel",
    "presentation": "the regions' outlines on the original images (GSPS)",
    "key-objects": "the slices to look at (KOS)",
}
"""Name, at most 16 characters -> what it is."""
CLASSES: dict[str, str] = {
    "report": "1.2.840.10008.5.1.4.1.1.88.34",
    "report-2d": "1.2.840.10008.5.1.4.1.1.88.33",
    "report-enhanced": "1.2.840.10008.5.1.4.1.1.88.22",
    "plain-report": "1.2.840.10008.5.1.4.1.1.88.11",
    "montage": "1.2.840.10008.5.1.4.1.1.7",
    "heatmap": "1.2.840.10008.5.1.4.1.1.7",
    "segmentation": "1.2.840.10008.5.1.4.1.1.66.4",
    "parametric-map": "1.2.840.10008.5.1.4.1.1.30",
    "presentation": "1.2.840.10008.5.1.4.1.1.11.1",
    "key-objects": "1.2.840.10008.5.1.4.1.1.88.59",
    "statement": "1.2.840.10008.5.1.4.1.1.88.11",
}
"""Kind -> SOP Class UID of its objects."""
STATEMENT = "statement"
"""Basic Text SR that says why no series was assessed: every destination takes it."""
DOCUMENTS: tuple[str, ...] = (
    "report",
    "report-2d",
    "report-enhanced",
    "plain-report",
    STATEMENT,
)
"""Kinds that are reports, each of which replaces those of an earlier revision."""
USUAL: tuple[str, ...] = ("report", "montage", "heatmap")
"""What a destination takes that says nothing else."""
VIEWERS: dict[str, tuple[str, ...]] = {
    # No segmentation: OHIF 3.13 scatters it where rows times columns is no multiple of 8.
    "ohif": USUAL,
    "orthanc": ("montage", "heatmap", "plain-report"),
    "weasis": (*USUAL, "segmentation", "presentation", "key-objects"),
    "text": ("plain-report", "montage"),
    "everything": tuple(KINDS),
}
"""Viewer -> the kinds that it has something to show for, or does nothing wrong with."""


def taken(stated: Iterable[str]) -> tuple[str, ...]:
    """Return what a destination takes that states these kinds, or none."""
    return (*(tuple(stated) or USUAL), STATEMENT)


class UnknownKindError(GatekeeperError):
    """There is no result object of this kind."""


def parse(names: Iterable[str]) -> tuple[str, ...]:
    """Return kinds in the order of `KINDS`, each once.

    Raises:
        UnknownKindError: if one is not known.
    """
    wanted = set(names)
    if unknown := sorted(wanted - set(KINDS)):
        raise UnknownKindError(f"no kind of result {unknown[0]!r}; there are: {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in wanted)
