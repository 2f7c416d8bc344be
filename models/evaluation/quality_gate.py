"""Quality gate: does a detector notice a fault of acquisition, patient by patient?

Each fault is put on healthy scans that no detector has seen in training, and every detector judges
both. A fault counts as noticed at a rate of false holds a when its p-value is at most a, so the
rate is the detector's own claim; the record says beside it how often clean scans were held.

One scan a patient. The scan with the fault is one of the normal scans with something done to it, so
patients are resampled whole, clean and faulty together; calibration subjects are resampled apart.
A scan with a fault that a detector refuses to judge is held: its score is infinite, its p-value 0.
A clean scan that it refuses says nothing of faults, and is left out for that detector.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from models.artefacts import Strength
from models.detector import Detector
from models.errors import NotAssessable
from models.evaluation.faults import FAULTS, Fault
from models.evaluation.intervals import RESAMPLES, Figure, percentile, proportion
from models.scan import Scan
from models.volume import Volume

FALSE_HOLDS = (0.05, 0.1)
"""Rates of false holds at which sensitivity is given."""


@dataclass(frozen=True, slots=True)
class Clean:
    """What a detector says of the scans as they are.

    Attributes:
        detector: its name.
        subjects: the patients that it judged, in the order of every score below.
        scores: one a patient.
        p_values: one a patient.
        held: part of the clean scans held at each of `FALSE_HOLDS`.
        calibration: number of calibration scores on the normal side, beside the patients.
        refused: the patients whose clean scan it refuses; left out everywhere.
    """

    detector: str
    subjects: tuple[str, ...]
    scores: tuple[float, ...]
    p_values: tuple[float, ...]
    held: tuple[Figure, ...]
    calibration: int
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Noticed:
    """How well a detector notices one fault at one strength.

    Attributes:
        detector: its name.
        fault: the fault's name.
        strength: ``mild``, ``moderate`` or ``strong``.
        setting: what was done, in words.
        auroc: of faulty against clean, with the paired bootstrap interval.
        sensitivity: part held at each of `FALSE_HOLDS`, with Clopper and Pearson's interval.
        refused: how many the detector refused, among those held.
        scores: one a patient, in the order of `Clean.subjects`; None where refused.
        p_values: likewise; 0 where refused.
    """

    detector: str
    fault: str
    strength: str
    setting: str
    auroc: Figure
    sensitivity: tuple[Figure, ...]
    refused: int
    scores: tuple[float | None, ...]
    p_values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean over all faults of one strength; intervals by resampling patients."""

    detector: str
    strength: str
    faults: int
    auroc: Figure
    sensitivity: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class QualityGate:
    """The whole record.

    Attributes:
        statement: what was measured, in one sentence.
        false_holds: the rates behind every `sensitivity` and `held`, in order.
        clean: one a detector.
        means: one a detector and strength.
        rows: one a detector, fault and strength.
    """

    statement: str
    false_holds: tuple[float, ...]
    clean: tuple[Clean, ...]
    means: tuple[Mean, ...]
    rows: tuple[Noticed, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as dicts, lists, text and finite numbers; figures to three decimals.

        An interval that cannot be given is two None.
        """
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def table(self) -> str:
        """Return the figures as Markdown: clean scans, means, then each fault and strength."""
        held = [f"held at {rate:.0%}" for rate in self.false_holds]
        clean = [
            [one.detector, str(len(one.subjects)), str(one.calibration), str(len(one.refused))]
            + [str(figure) for figure in one.held]
            for one in self.clean
        ]
        means = [
            [one.detector, one.strength, str(one.faults), str(one.auroc)]
            + [str(figure) for figure in one.sensitivity]
            for one in self.means
        ]
        rows = [
            [one.fault, one.strength, one.detector, str(one.auroc)]
            + [str(figure) for figure in one.sensitivity]
            + [str(one.refused)]
            for one in self.rows
        ]
        return "\n\n".join(
            [
                self.statement,
                _markdown(["clean scans", "patients", "calibration", "refused", *held], clean),
                _markdown(["mean over faults", "strength", "faults", "AUROC", *held], means),
                _markdown(["fault", "strength", "detector", "AUROC", *held, "refused"], rows),
            ]
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is kept of a finding; a refusal is (inf, 0)."""

    score: float
    p_value: float

    @property
    def refused(self) -> bool:
        return not isfinite(self.score)


_REFUSED = _Answer(float("inf"), 0.0)

Progress = Callable[[int, int, str], None]
"""(steps done, steps in all, what was done last)."""


def measure(
    detectors: Mapping[str, Detector],
    scans: Sequence[Scan],
    faults: Sequence[Fault] = tuple(FAULTS.values()),
    strengths: Sequence[Strength] = tuple(Strength),
    progress: Progress | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> QualityGate:
    """Return how well each detector notices each fault at each strength.

    One volume with a fault exists at a time, is judged by all detectors, and is dropped.

    Args:
        detectors: by name. Calibration scores, where a detector offers them, join the normal side.
        scans: healthy, unseen in training; the first scan of each subject is used.
        faults: what to do to them.
        strengths: how strongly.
        progress: called after each fault of each scan.
        seed: of the faults and the bootstrap.
        resamples: of the bootstrap.

    Raises:
        ModelError: if a scan is synthetic.
        ValueError: if there is no detector, scan, fault or strength, or a detector refuses every
            clean scan.
    """
    if not (detectors and scans and faults and strengths):
        raise ValueError("a measurement needs detectors, scans, faults and strengths")
    for scan in scans:
        scan.refuse_synthetic("evaluation")
    first = _first_scans(scans)
    total = len(first) * len(faults) * len(strengths)
    clean: dict[str, dict[str, _Answer]] = {name: {} for name in detectors}
    faulty: dict[tuple[str, str, Strength], dict[str, _Answer]] = {}
    done = 0
    for scan in first:
        for name, detector in detectors.items():
            clean[name][scan.subject] = _answer(detector, scan.volume)
        own_seed = zlib.crc32(scan.name.encode()) ^ seed  # whatever the order of the scans
        for fault in faults:
            for strength in strengths:
                volume = fault.apply(scan.volume, strength, own_seed)
                for name, detector in detectors.items():
                    if not clean[name][scan.subject].refused:
                        answers = faulty.setdefault((name, fault.name, strength), {})
                        answers[scan.subject] = _answer(detector, volume)
                done += 1
                if progress is not None:
                    progress(done, total, f"{scan.name}: {fault.name}, {strength}")
    tables = [
        _Table(name, clean[name], calibration_scores(detector), seed, resamples)
        for name, detector in detectors.items()
    ]
    rows = [
        table.noticed(fault, strength, faulty[table.name, fault.name, strength])
        for fault in faults
        for strength in strengths
        for table in tables
    ]
    means = [
        table.mean(strength, [faulty[table.name, fault.name, strength] for fault in faults])
        for strength in strengths
        for table in tables
    ]
    return QualityGate(
        f"{len(faults)} faults put on one scan of each of {len(first)} healthy patients not used "
        "in training; AUROC against the same scans as they are and the calibration scores; 95 % "
        "intervals over patients",
        FALSE_HOLDS,
        tuple(table.clean for table in tables),
        tuple(means),
        tuple(rows),
    )


def calibration_scores(detector: object) -> tuple[float, ...]:
    """Return the scores of a detector's calibration subjects, () where it offers none.

    They are its ``calibration``, or that one's ``combined_scores``.
    """
    calibration: Any = getattr(detector, "calibration", ())  # any detector, ours or not
    found: Any = getattr(calibration, "combined_scores", calibration)
    if not isinstance(found, Sequence) or isinstance(found, str):
        return ()
    return tuple(float(value) for value in cast("Sequence[float]", found))


def _first_scans(scans: Sequence[Scan]) -> list[Scan]:
    first: dict[str, Scan] = {}
    for scan in scans:
        first.setdefault(scan.subject, scan)
    return list(first.values())


def _answer(detector: Detector, volume: Volume) -> _Answer:
    try:
        finding = detector.detect(volume)
    except NotAssessable:
        return _REFUSED
    return _Answer(finding.score, finding.p_value)


class _Table:
    """One detector's answers, turned into figures."""

    def __init__(
        self,
        name: str,
        answers: Mapping[str, _Answer],
        calibration: Sequence[float],
        seed: int,
        resamples: int,
    ) -> None:
        judged = {who: answer for who, answer in answers.items() if not answer.refused}
        if not judged:
            raise ValueError(f"{name} refuses every clean scan")
        scores = [answer.score for answer in judged.values()]
        p_values = [answer.p_value for answer in judged.values()]
        self.name = name
        self.clean = Clean(
            name,
            tuple(judged),
            tuple(scores),
            tuple(p_values),
            tuple(proportion([p <= rate for p in p_values]) for rate in FALSE_HOLDS),
            len(calibration),
            tuple(who for who, answer in answers.items() if answer.refused),
        )
        self._normal = np.array([*scores, *calibration])
        generator = np.random.default_rng(seed)
        # How often each patient, and each calibration subject, is in each resample.
        self._patients = _multiplicities(generator, len(scores), resamples)
        self._references = _multiplicities(generator, len(calibration), resamples)

    def noticed(self, fault: Fault, strength: Strength, answers: Mapping[str, _Answer]) -> Noticed:
        own = [answers[who] for who in self.clean.subjects]
        return Noticed(
            self.name,
            fault.name,
            strength.value,
            fault.settings[strength],
            self._auroc(self._above(own)),
            tuple(proportion([one.p_value <= rate for one in own]) for rate in FALSE_HOLDS),
            sum(one.refused for one in own),
            tuple(None if one.refused else one.score for one in own),
            tuple(one.p_value for one in own),
        )

    def mean(self, strength: Strength, faults: Sequence[Mapping[str, _Answer]]) -> Mean:
        own = [[answers[who] for who in self.clean.subjects] for answers in faults]
        above = np.mean([self._above(one) for one in own], axis=0)
        sensitivity: list[Figure] = []
        for rate in FALSE_HOLDS:
            held = np.mean([[one.p_value <= rate for one in row] for row in own], axis=0)
            draws = self._patients @ held / len(held)
            sensitivity.append(percentile(float(held.mean()), draws))
        return Mean(self.name, strength.value, len(faults), self._auroc(above), tuple(sensitivity))

    def _above(self, answers: Sequence[_Answer]) -> NDArray[np.float64]:
        """Return whether each faulty score is above each normal one, (patients, normals)."""
        scores = np.array([one.score for one in answers])[:, None]
        return (scores > self._normal) + 0.5 * (scores == self._normal)

    def _auroc(self, above: NDArray[np.float64]) -> Figure:
        """Return the mean of `above`, which is the AUROC, with its bootstrap interval."""
        normals = np.concatenate([self._patients, self._references], axis=1)
        draws = np.einsum("bp,pn,bn->b", self._patients, above, normals, optimize=True)
        return percentile(float(above.mean()), draws / above.size)


def _multiplicities(
    generator: np.random.Generator, count: int, resamples: int
) -> NDArray[np.float64]:
    if not count:
        return np.zeros((resamples, 0))
    return generator.multinomial(count, np.full(count, 1 / count), resamples).astype(np.float64)


def _plain(value: object) -> object:
    match value:
        case Figure():
            return [None if math.isnan(part) else part for part in value.as_list()]
        case tuple():
            return [_plain(item) for item in cast("tuple[object, ...]", value)]
        case Clean() | Noticed() | Mean():
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
