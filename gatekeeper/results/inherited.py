"""Inherited: what a picture has from its source besides patient and study, and may not hide."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset

from gatekeeper.results.assessment import SeriesAssessment
from gatekeeper.results.attributes import put, sanitised
from gatekeeper.results.common import first_header

HEADS = frozenset({"BRAIN", "HEAD", "HEADNECK", "FACE", "SKULL"})
"""Body parts by whose images a person may be recognised."""


def set_lossy(target: Dataset, series: SeriesAssessment) -> None:
    """Copy that the source lost information to compression (PS3.3 C.7.6.1.1.5)."""
    target.LossyImageCompression = "01" if series.source.lossy else "00"
    if not series.source.lossy:
        return
    for header in series.source.headers:
        if sanitised(header, "LossyImageCompression") == "01":
            for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
                value: Any = sanitised(header, keyword)
                if value is not None:
                    put(target, keyword, value)
            return


def recognizable(series: SeriesAssessment) -> str:
    """Return RecognizableVisualFeatures: the source's, else whether it shows a head."""
    stated = sanitised(first_header(series), "RecognizableVisualFeatures")
    if stated in ("YES", "NO"):
        return str(stated)
    return "YES" if series.volume is not None and series.volume.body_part in HEADS else "NO"
