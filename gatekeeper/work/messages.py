"""What worker and child tell each other: a request file and an answer file in the scratch folder.

The pipes between the two carry only the names of these files, one short JSON line each. What comes
back from the child is checked here before the worker believes any of it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from gatekeeper.errors import ChildFailed, IdentifierError
from gatekeeper.identifiers import Uid
from gatekeeper.results import kinds
from gatekeeper.results.catalogue import ENGLISH
from gatekeeper.results.earlier import EarlierReport
from gatekeeper.rules.verdict import Verdict
from gatekeeper.work.clinical_request import ClinicalRequest, measured_of
from gatekeeper.work.lesion_request import LesionRequest

LARGEST_ANSWER = 64 << 20
"""Bytes of an answer file that the worker will read."""
ANSWER = "answer.json"
"""Name of the answer file in the scratch folder."""
RESULT_KINDS = frozenset({*kinds.KINDS, kinds.STATEMENT})


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """One instance of the study, as the listener recorded it."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    digest: str
    path: str


@dataclass(frozen=True, slots=True)
class Request:
    """One job for the child, with the settings that it is done under.

    Attributes:
        job, attempt: the claim.
        study_instance_uid, content_digest, model_digest, revision, created_at: the job's key.
        files: the study's instances.
        scratch: folder for the result files.
        bundles: folders of site bundles.
        choice: the bundle's name for each profile that the site chose one for, empty for nobody;
            None when the choice cannot be known.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: processor threads for models; 0 means all.
        maximum_voxels: in one volume, and in all volumes assessed together.
        maximum_series: volumes assessed at most.
        cpu_seconds: processor time for this job.
        false_hold_rate, ae_title, institution, series_number: see `StudyAssessment`.
        false_hold_rates: rate of each profile that has one of its own.
        heatmap_margin, reference_stands_in: see `StudyAssessment`.
        objects: kinds of result to make in each language; see `gatekeeper.results.kinds`.
        compression: of pictures: ``none``, ``rle`` or ``jpeg2000``.
        earlier: the reports of the latest job on this study before this one.
        catalogues: folder of the hospital's own catalogues of texts; empty when there is none.
        models: Series Instance UID -> bundle that a rule names for it.
        skipped: Series Instance UID -> rule that leaves it out.
        clinical: what is known of the patient beside the images; None where no bundle asks.
        lesions: what scores lesions; None where no bundle does.
    """

    job: int
    attempt: int
    study_instance_uid: str
    content_digest: str
    model_digest: str
    revision: int
    created_at: float
    files: tuple[ReceivedFile, ...]
    scratch: str
    bundles: tuple[str, ...]
    device: str
    threads: int
    maximum_voxels: int
    maximum_series: int
    cpu_seconds: float
    false_hold_rate: float
    ae_title: str
    institution: str
    series_number: int
    objects: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {ENGLISH: kinds.USUAL})
    heatmap_margin: int | None = None
    compression: str = "none"
    earlier: tuple[EarlierReport, ...] = ()
    catalogues: str = ""
    choice: Mapping[str, str] | None = field(default_factory=dict[str, str])
    false_hold_rates: Mapping[str, float] = field(default_factory=dict[str, float])
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])
    reference_stands_in: bool = True
    clinical: ClinicalRequest | None = None
    lesions: LesionRequest | None = None

    def write(self, path: Path) -> None:
        """Write the request to `path`."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Request:
        """Return the request that the worker wrote to `path`."""
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content["files"] = tuple(ReceivedFile(**file) for file in content["files"])
        content["bundles"] = tuple(content["bundles"])
        content["objects"] = {key: tuple(names) for key, names in content["objects"].items()}
        content["earlier"] = tuple(EarlierReport(**one) for one in content["earlier"])
        if content["clinical"] is not None:
            content["clinical"] = ClinicalRequest.of(content["clinical"])
        if content["lesions"] is not None:
            content["lesions"] = LesionRequest(**content["lesions"])
        return cls(**content)


@dataclass(frozen=True, slots=True)
class ResultFile:
    """One result object, a Part 10 file named `name` in the scratch folder, in a language."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    kind: str
    name: str
    language: str = ENGLISH


@dataclass(frozen=True, slots=True)
class Answer:
    """What the child found.

    Attributes:
        verdict, reason: the study's judgement.
        score, p_value: of the series that decided; None when nothing was scored.
        evidence: JSON for `Outcome.evidence`.
        stages: milliseconds of each stage.
        results: the files written.
        peak_mib: largest resident memory of the child during the job.
        measured: what the study's reports measured, by report, to be kept.
    """

    verdict: Verdict
    reason: str
    score: float | None
    p_value: float | None
    evidence: dict[str, Any]
    stages: dict[str, float]
    results: tuple[ResultFile, ...]
    peak_mib: int
    measured: Sequence[Mapping[str, Any]] = ()

    def write(self, path: Path) -> None:
        """Write the answer to `path`.

        Raises:
            ValueError: if it holds NaN or infinity.
        """
        path.write_text(json.dumps(dataclasses.asdict(self), allow_nan=False), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Answer:
        """Return the answer that the child wrote to `path`, checked.

        Raises:
            ChildFailed: when it is no valid answer.
            OSError: when it cannot be read.
        """
        if path.stat().st_size > LARGEST_ANSWER:
            raise ChildFailed("the answer is too large")
        try:
            return _answer(json.loads(path.read_text(encoding="utf-8")))
        except (AttributeError, IdentifierError, LookupError, TypeError, ValueError) as error:
            raise ChildFailed(f"the answer is not valid ({type(error).__name__})") from None


def _answer(content: dict[str, Any]) -> Answer:
    return Answer(
        verdict=Verdict(content["verdict"]),
        reason=_text(content["reason"]),
        score=_number(content["score"]),
        p_value=_number(content["p_value"]),
        evidence=_mapping(content["evidence"]),
        stages={name: float(value) for name, value in _mapping(content["stages"]).items()},
        results=tuple(_result(item) for item in content["results"]),
        peak_mib=int(content["peak_mib"]),
        measured=_several(content["measured"]),
    )


def _result(content: dict[str, Any]) -> ResultFile:
    result = ResultFile(**{name: _text(value) for name, value in content.items()})
    if result.kind not in RESULT_KINDS:
        raise ValueError("not a kind of result")
    if Path(result.name).name != result.name or result.name in ("", ".", ".."):
        raise ValueError("a result file outside the scratch folder")
    for uid in (result.sop_instance_uid, result.sop_class_uid, result.transfer_syntax_uid):
        Uid.parse(uid)
    return result


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _number(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("not a number")
    return float(value)


def _several(value: object) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    found = tuple(_mapping(one) for one in cast("list[object]", value))
    measured_of(found)  # refuses what is no measurement
    return found


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return cast(dict[str, Any], value)
