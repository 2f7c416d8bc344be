"""The demonstration itself: send, watch, collect, and say what the verdicts rest on.

Nothing in it knows what the verdict will be. Two sample studies go the way every study goes: over
DICOM into the listener, through the job table and the worker, back over DICOM into the archive.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from gatekeeper.demo import sample
from gatekeeper.demo.site import DemoSite, as_scanner
from gatekeeper.errors import GatekeeperError, TransportError
from gatekeeper.history import JobHistory, StudyHistory, read_history
from gatekeeper.identifiers import Uid
from gatekeeper.results.kinds import STATEMENT
from gatekeeper.results.page import contact_sheet, report_html
from gatekeeper.send.files import send_files
from storage.records import HAS_ALL, DeliveryState, JobState

Result = tuple[str, Dataset]
"""A kind of result and the object."""

WAIT_SECONDS = 600.0
SLICE_STEP = 2
"""The sample's slices are 2 mm apart, as in the scans that the T1 profile rests on."""
_LOOK_SECONDS = 0.1

Progress = Callable[[str, str, int, int], None]
"""Told the case, the step, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Case:
    """One study to walk through the line."""

    name: str
    statement: str
    paths: tuple[Path, ...]
    study_instance_uid: Uid
    instances: int


@dataclass(frozen=True, slots=True)
class CaseAnswer:
    """What came of a case, as `demo.json` holds it."""

    name: str
    statement: str
    study_instance_uid: str
    instances: int
    verdict: str
    reason: str
    score: float | None
    p_value: float | None
    evidence: dict[str, Any]
    result_sop_instance_uids: list[str]
    stage_milliseconds: dict[str, float]
    folder: str
    pictures: list[str] = field(default_factory=list[str])


def sample_cases(folder: Path, progress: Progress) -> list[Case]:
    """Write the two sample studies, one as it is and one with an acquisition fault."""
    from models.artefacts import Kind, Strength, apply
    from models.artefacts import statement as describe

    scan = sample.template()
    kind, strength = Kind.MOTION, Strength.STRONG
    fault = f"The MNI152 T1 template with a simulated fault: {describe(kind, strength)}."
    wanted = (
        ("as-it-is", "The MNI152 T1 template, unchanged.", scan),
        ("with-fault", fault, apply(scan, kind, strength, seed=0)),
    )
    cases: list[Case] = []
    for name, statement, volume in wanted:
        study = sample.write_study(
            volume,
            folder / name,
            title=name,
            statement=statement,
            every=SLICE_STEP,
            progress=lambda done, total, name=name: progress(name, "write", done, total),
        )
        cases.append(
            Case(name, statement, (study.folder,), study.study_instance_uid, study.instances)
        )
    return cases


def folder_cases(folder: Path) -> list[Case]:
    """Return one case for each study found in the user's own folder.

    Raises:
        GatekeeperError: if there is no DICOM file in it.
    """
    from gatekeeper.send.files import read_studies

    found = read_studies(folder)
    if not found:
        raise GatekeeperError(f"{folder}: no DICOM file in it")
    return [
        Case(
            f"study-{number}" if len(found) > 1 else "study",
            f"{len(paths)} files from {folder.name}",
            tuple(paths),
            study,
            len(paths),
        )
        for number, (study, paths) in enumerate(sorted(found.items()), start=1)
    ]


def send(site: DemoSite, case: Case, progress: Progress) -> float:
    """Send one study into the site as a scanner would; return the milliseconds it took.

    Raises:
        TransportError: if an instance was not taken.
    """
    started = time.monotonic()
    sent = send_files(
        case.paths,
        site.node,
        as_scanner(site.settings),
        progress=lambda done, total: progress(case.name, "send", done, total),
    )
    if sent.failed:
        first = sent.failed[0]
        raise TransportError(
            f"{len(sent.failed)} of {case.instances} instances were not taken: {first.reason}"
        )
    return 1000 * (time.monotonic() - started)


def collect(
    site: DemoSite,
    case: Case,
    out: Path,
    fetch: Callable[[JobHistory], list[Path]],
    progress: Progress,
    send_milliseconds: float,
) -> CaseAnswer:
    """Wait for a sent study's results and leave them in `out/<case>`.

    Args:
        site: the running site.
        case: the study.
        out: the demo's folder.
        fetch: returns the files of the result objects that the archive holds.
        progress: told each step.
        send_milliseconds: how long sending took.

    Raises:
        TransportError: if the results did not come in time.
        GatekeeperError: if the job ended without a verdict.
    """
    history = _await_results(site, case, progress)
    newest = history.jobs[0]
    if newest.outcome is None:
        raise GatekeeperError(f"the job ended without a verdict: {newest.job.reason}")
    progress(case.name, "draw", 0, 0)
    folder = out / case.name
    folder.mkdir()
    uids = [result.sop_instance_uid for result in newest.results]
    kinds = {result.sop_instance_uid: result.kind for result in newest.results}
    objects = _collect(dict(zip(uids, fetch(newest), strict=True)), kinds, folder)
    pictures = _pictures(objects, folder)
    progress(case.name, "done", 1, 1)
    return CaseAnswer(
        name=case.name,
        statement=case.statement,
        study_instance_uid=case.study_instance_uid,
        instances=case.instances,
        verdict=newest.outcome.verdict,
        reason=newest.outcome.reason,
        score=newest.outcome.score,
        p_value=newest.outcome.p_value,
        evidence=newest.outcome.evidence,
        result_sop_instance_uids=[result.sop_instance_uid for result in newest.results],
        stage_milliseconds={"send": send_milliseconds, **stages(history)},
        folder=case.name,
        pictures=pictures,
    )


def stages(history: StudyHistory) -> dict[str, float]:
    """Return the milliseconds of each stage of a study's newest job, from the recorded times."""
    newest = history.jobs[0]
    job = newest.job
    sent = [item.delivered_at for item in newest.deliveries if item.delivered_at is not None]
    received = history.study.last_received_at
    times = {
        "quiet": (received, job.created_at),
        "queue": (job.created_at, job.claimed_at),
        "work": (job.claimed_at, job.finished_at),
        "delivery": (job.finished_at, max(sent) if sent else None),
        "last_instance_to_delivered": (received, max(sent) if sent else None),
    }
    found = {
        name: 1000 * (end - start)
        for name, (start, end) in times.items()
        if start is not None and end is not None
    }
    details = newest.outcome.stages if newest.outcome is not None else {}
    return found | {f"work.{name}": value for name, value in details.items()}


def write_summary(out: Path, answers: Sequence[CaseAnswer], seconds: float) -> Path:
    """Write `demo.json` and return its path."""
    path = out / "demo.json"
    summary = {"seconds": round(seconds, 3), "studies": [asdict(answer) for answer in answers]}
    path.write_text(json.dumps(summary, indent=2), encoding="utf-8")
    return path


def prepare(out: Path) -> None:
    """Make an empty `out`, replacing only what an earlier demo left there.

    Raises:
        GatekeeperError: if the folder holds something else.
    """
    marker = out / ".gatekeeper-demo"
    if out.exists():
        if any(out.iterdir()) and not marker.exists():
            raise GatekeeperError(f"{out} is not empty and not from an earlier demo; choose --out")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    marker.touch()


def _await_results(site: DemoSite, case: Case, progress: Progress) -> StudyHistory:
    deadline = time.monotonic() + WAIT_SECONDS
    pause = threading.Event()
    while time.monotonic() < deadline:
        with site.database.read() as tx:
            history = read_history(tx, case.study_instance_uid)
        step, done, total = _step(history)
        if history is not None and step == "done":
            return history
        progress(case.name, step, done, total)
        pause.wait(_LOOK_SECONDS)
    raise TransportError(f"no results within {WAIT_SECONDS:.0f} s; see {site.log}")


def _step(history: StudyHistory | None) -> tuple[str, int, int]:
    """Return the step a study is in, with how much of it is done."""
    if history is None or not history.jobs:
        return "wait for quiet", 0, 0
    newest = history.jobs[0]
    if newest.job.state is JobState.DEAD:
        return "done", 1, 1
    if newest.job.state is not JobState.DONE:
        return "analyse", 0, 0
    stored = sum(delivery.items_stored for delivery in newest.deliveries)
    items = sum(delivery.items for delivery in newest.deliveries)
    ended = {*HAS_ALL, DeliveryState.DEAD}
    if all(delivery.state in ended for delivery in newest.deliveries):
        return "done", max(items, 1), max(items, 1)
    return "deliver", stored, items


def _collect(files: Mapping[str, Path], kinds: Mapping[str, str], folder: Path) -> list[Result]:
    """Copy the result objects into `folder`, named by what they are, and return them in order.

    Args:
        files: where each is, by SOP Instance UID.
        kinds: what each is, by SOP Instance UID.
        folder: receives the copies.
    """
    found = [(kinds[uid], dcmread(path), path) for uid, path in files.items()]
    found.sort(key=lambda one: (one[0], int(one[1].get("InstanceNumber") or 0)))
    for kind, dataset, path in found:
        series = int(dataset.get("SeriesNumber") or 0)
        number = int(dataset.get("InstanceNumber") or 0)
        shutil.copyfile(path, folder / f"{kind}-{series}-{number:04d}.dcm")
    return [(kind, dataset) for kind, dataset, _ in found]


def _pictures(objects: Sequence[Result], folder: Path) -> list[str]:
    """Write what people look at, and return the file names, the quickest to read first."""
    names: list[str] = []
    of_kind: dict[str, list[Dataset]] = {}
    for kind, dataset in objects:
        of_kind.setdefault(kind, []).append(dataset)
    for dataset in of_kind.get("montage", [])[:1]:
        Image.fromarray(dataset.pixel_array).save(folder / "montage.png")
        names.append("montage.png")
    if heatmaps := of_kind.get("heatmap"):
        (folder / "contact-sheet.png").write_bytes(contact_sheet(heatmaps))
        names.append("contact-sheet.png")
    for dataset in (of_kind.get("report") or of_kind.get(STATEMENT) or [])[:1]:
        (folder / "report.html").write_text(report_html(dataset), encoding="utf-8")
        names.append("report.html")
    return names
