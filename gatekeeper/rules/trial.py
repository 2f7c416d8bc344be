"""Trial: what the rules say of files, or of a study in the spool; nothing is done."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatekeeper.errors import GatekeeperError
from gatekeeper.rules.evaluate import on_receipt, when_judged
from gatekeeper.rules.facts import Judged, StudyFacts
from gatekeeper.rules.fields import VERDICTS
from gatekeeper.rules.header import UnreadableHeader, read_header, tags_of
from gatekeeper.rules.plan import Plan
from gatekeeper.rules.read import File
from gatekeeper.rules.rule import Rule
from gatekeeper.settings import RuleSettings
from gatekeeper.work.source import quiet
from gatekeeper.work.values import text

SHOWN = frozenset({"Modality", "SeriesDescription", "series.kind", "series.images"})
"""Fields that are read to name a series, whatever the rules ask about."""
_MOST_FILES = 20_000
_IDENTIFYING = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "Modality",
)


class TrialRefused(GatekeeperError):
    """What rules cannot be tried on; says why."""


@dataclass(frozen=True)
class Trial:
    """What the rules say of one study.

    Attributes:
        study: its UID.
        series: its series, in a few words each, by their UIDs.
        problems: what could not be read.
        on_receipt, once_judged: what would be done, with why; the second is None when nothing is
            said of a verdict.
    """

    study: str
    series: dict[str, str]
    problems: tuple[str, ...]
    on_receipt: Plan
    once_judged: Plan | None

    @property
    def letters(self) -> dict[str, str]:
        """The numbers that stand for its series."""
        return {uid: str(number) for number, uid in enumerate(self.series, start=1)}


def judged_by(
    verdict: str, p_value: float | None, detectors: tuple[str, ...], calibrated: bool | None
) -> Judged | None:
    """Return what was found, None when nothing is said of it.

    Raises:
        TrialRefused: if there is no such verdict.
    """
    if verdict and verdict.upper() not in VERDICTS:
        raise TrialRefused(f"no verdict {verdict!r}; there are: {', '.join(VERDICTS)}")
    if not verdict and p_value is None and not detectors and calibrated is None:
        return None
    return Judged(verdict.upper(), p_value, detectors, calibrated)


def files_of(paths: Iterable[Path], settings: RuleSettings) -> tuple[dict[str, list[File]], int]:
    """Return the files of each study below these paths, and how many are no DICOM files.

    Raises:
        TrialRefused: if there are more than rules are tried on.
    """
    studies: dict[str, list[File]] = defaultdict(list)
    strange = 0
    tags = tags_of(_IDENTIFYING)
    for number, path in enumerate(_walk(paths)):
        if number >= _MOST_FILES:
            raise TrialRefused(f"over {_MOST_FILES} files there; name a smaller folder")
        try:
            header = read_header(path, tags, settings.header_kib << 10)
        except (UnreadableHeader, OSError):
            strange += 1
            continue
        with quiet():
            study, series, sop_instance, sop_class, modality = (
                text(header, keyword) for keyword in _IDENTIFYING
            )
        if not study or not series:
            strange += 1
            continue
        studies[study].append(File(series, sop_instance, sop_class, modality, path))
    return studies, strange


def try_on(rules: Sequence[Rule], facts: StudyFacts, judged: Judged | None) -> Trial:
    """Return what the rules say of a study, with why."""
    return Trial(
        study=facts.study_instance_uid,
        series={one.series_instance_uid: _named(one.values) for one in facts.series},
        problems=facts.problems,
        on_receipt=on_receipt(rules, facts, trace=True),
        once_judged=None if judged is None else when_judged(rules, facts, judged, trace=True),
    )


def outcome(plan: Plan, letters: Mapping[str, str]) -> Iterator[str]:
    """Yield what a plan does, a clause each.

    Args:
        plan: of a trial.
        letters: what stands for its series.
    """
    for uid, bundle in plan.models.items():
        yield f"series {letters[uid]} is analysed with {bundle}"
    for uid, rule in plan.skipped.items():
        yield f"series {letters[uid]} is not analysed (rule {rule})"
    for forwarding in plan.forwards:
        yield f"forwarded to {forwarding.node} (rule {forwarding.rule})"
    for holding in plan.holds:
        node = holding.node or "every gated node"
        until = "" if holding.hours is None else f", {holding.hours:g} hours at most"
        yield f"held from {node}{until} (rule {holding.rule})"
    for telling in plan.tells:
        yield f"channel {telling.channel} is told (rule {telling.rule})"
    for fetching in plan.fetches:
        what = f"{fetching.count} prior {fetching.modality or 'studies of its modality'}"
        yield f"{what} fetched from {fetching.node} (rule {fetching.rule})"
    if plan.priority:
        yield f"analysed with priority {plan.priority}"


def _walk(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders.sort()
            yield from (Path(folder) / name for name in sorted(names))


def _named(values: Any) -> str:
    words = (values.get(name, ()) for name in ("Modality", "series.kind", "SeriesDescription"))
    found = [str(one[0]) for one in words if one]
    images = values.get("series.images", ())
    return ", ".join([*found, *(f"{images[0]} images" for _ in images[:1])])
