"""An earlier report, as plain data: what a new report may replace.

No DICOM library is needed to read or write it, as the worker needs none.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EarlierReport:
    """A report of ours on the same study, made before, that a new one may replace.

    Attributes:
        revision: of the study, that it was made on.
        kind: of result; see `gatekeeper.results.kinds`.
        sop_class_uid, series_instance_uid, sop_instance_uid: which object it is.
        language: of its texts, an RFC 5646 tag.
    """

    revision: int
    kind: str
    sop_class_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    language: str = "en"
