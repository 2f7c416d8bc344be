"""A study judged with a multimodal bundle: values in, an explanation out, the verdict untouched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clinical.reports import num, report
from pydicom import dcmread
from pydicom.dataset import Dataset
from work.phantoms import ROOT, Ward, series

from gatekeeper.cli import study as study_command
from gatekeeper.clinical import service
from gatekeeper.clinical.checking import bundle_answer
from gatekeeper.errors import ChildFailed
from gatekeeper.explanations import explanations
from gatekeeper.pseudonym import KEY, site_key
from gatekeeper.work.clinical import whose
from gatekeeper.work.messages import Answer
from gatekeeper.work.worker import Worker
from models.multimodal import bundle
from models.multimodal.crossfit import cross_fit
from models.multimodal.embedding import Encoder
from models.multimodal.network import Config
from models.multimodal.simulate import NOTICE, simulated
from models.training.loop import Run
from storage import clinical_values, instances, jobs, outcomes
from storage.records import Instance, Outcome

DLCO, FEV1 = ("99GATEKEEPER", "dlco"), ("LN", "20152-5")


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """Give a database and spool whose settings name a multimodal bundle for CT."""
    folder = tmp_path_factory.mktemp("ward")
    made = simulated().cohort
    assert made.embeddings.shape[1] == Encoder("body").size
    fitted = cross_fit(made, Config(steps=30, folds=2), Run())
    trial = folder / "bundles" / "lung-trial"
    bundle.write(trial, fitted, NOTICE, anatomy="body", modality="CT", simulated=True)
    ward = Ward(folder, f"sqlite:///{folder / 'facts.db'}")
    ward.database.migrate()
    clinical = replace(ward.settings.clinical, bundle=str(trial))
    ward.settings = replace(ward.settings, clinical=clinical)
    yield ward
    ward.database.dispose()


@pytest.fixture(scope="module")
def worker(ward: Ward) -> Iterator[Worker]:
    """Give one worker, as its child takes seconds to start."""
    made = Worker(ward.settings, ward.database, ward.spool)
    yield made
    made.close()


def study_of(number: int) -> str:
    """Return the UID of one test's study."""
    return f"{ROOT}.{number}"


def ct(number: int, patient: str) -> list[Dataset]:
    """Return a CT of a body in air, large enough to be embedded."""
    made = series(
        18, modality="CT", description="", study=study_of(number), shape=(24, 24),
        PatientID=patient, StudyDate="20260320", StudyTime="080000",
    )  # fmt: skip
    for dataset in made:
        y, x = np.mgrid[-1:1:24j, -1:1:24j]
        inside = (x**2 + y**2 < 0.7).astype(np.int16)
        texture = (40 * np.sin(9 * x)).astype(np.int16)
        dataset.PixelData = (inside * (1000 + texture)).tobytes()
        dataset.RescaleIntercept = -1000
    return made


def keep(ward: Ward, **row: object) -> None:
    """Keep one value, as the REST API does."""
    with ward.database.begin() as tx:
        service.keep(tx, [row], "api", "laboratory", site_key(ward.settings.pseudonyms))


def judged(ward: Ward, worker: Worker, job: int) -> Outcome:
    """Work on the job and return its outcome."""
    assert worker.run_once()
    with ward.database.read() as tx:
        found = outcomes.of_job(tx, job)
    assert found is not None, ward.job(job).reason
    return found


def clinical_of(found: Outcome) -> dict[str, Any]:
    """Return what image and function together say in an outcome."""
    (said,) = [one["clinical"] for one in found.evidence["series"] if "clinical" in one]
    return said


def text_of(ward: Ward, job: int) -> str:
    """Return the text of the job's report."""
    with ward.database.read() as tx:
        (result,) = outcomes.results_of_job(tx, job)
    made = dcmread(ward.spool.path(result.digest))
    return "\n".join(str(one.value) for one in made.iterall() if one.keyword == "TextValue")


def test_values_of_the_patient_reach_the_report_with_their_contributions(
    ward: Ward, worker: Worker
) -> None:
    """A value by the API, within the window, is used; the verdict is what it would have been."""
    keep(ward, patient="P1", observed="2026-03-01", name="dlco", value=31, unit="%")
    keep(ward, patient="OTHER", observed="2026-03-01", name="fev1", value=80, unit="%")
    keep(ward, patient="P1", observed="2025-03-01", name="spo2", value=95, unit="%")
    job = ward.study(ct(1, "P1"))
    found = judged(ward, worker, job)
    assert found.verdict == "UNCALIBRATED"
    assert found.reason == "Not assessed: no profile for CT (body part not stated)."
    clinical = clinical_of(found)
    assert clinical["sources"] == {"dlco": "api"}
    assert {"fev1", "spo2"} <= set(clinical["missing"])
    total = clinical["baseline"] + sum(clinical["contributions"].values())
    assert clinical["score"] == pytest.approx(total, abs=1e-3)
    assert clinical["contributions"]["fev1"] == 0
    assert "P1" not in json.dumps(found.evidence)
    (shown,) = study_command.explained(found)
    assert shown.startswith("lung-trial (TRIAL, simulated patients): image and function together")
    (score,) = explanations(found).clinical
    assert {one.name for one in score.contributions if one.measured} == {"image", "dlco"}
    assert len(score.missing) == len(clinical["missing"])
    below = 41 - (round(score.p_value * 42) - 1)
    assert score.percentile == pytest.approx(100 * below / 41)
    text = text_of(ward, job)
    assert "image and function together, which explains and does not decide" in text
    assert "TRIAL: fitted to simulated patients" in text


def test_a_report_in_the_study_is_used_and_kept_for_others(ward: Ward, worker: Worker) -> None:
    """Its measurements explain this study, and are there for the patient's next one."""
    pft = report([num(DLCO, "42", "%"), num(FEV1, "2.5", "L")], study_of(2), "P2")
    found = judged(ward, worker, ward.study([*ct(2, "P2"), pft]))
    assert clinical_of(found)["sources"] == {"dlco": "sr"}
    with ward.database.read() as tx:
        kept = [one for one in clinical_values.listing(tx) if one.source == "sr"]
    assert [(one.name, one.value) for one in kept] == [("dlco", 42)] * 2
    assert sorted(bool(one.patient) for one in kept) == [False, True]
    assert {one.reference for one in kept} == {str(pft.SOPInstanceUID)}
    following = judged(ward, worker, ward.study(ct(3, "P2")))
    assert clinical_of(following)["sources"] == {"dlco": "sr"}


def test_a_value_that_came_after_the_job_is_not_used(ward: Ward, worker: Worker) -> None:
    """Every attempt at a job gives the answer of its first."""
    job = ward.study(ct(4, "P4"))
    keep(ward, study=study_of(4), name="dlco", value=31, unit="%")
    with ward.database.read() as tx:
        (value,) = clinical_values.listing(tx, study_of(4))
        made = jobs.existing(tx, job)
    assert made.created_at < value.at
    assert "dlco" in clinical_of(judged(ward, worker, job))["missing"]


def test_a_broken_bundle_stops_no_verdict(ward: Ward, worker: Worker) -> None:
    """What explains and does not decide is named as broken, and the study is judged."""
    weights = Path(ward.settings.clinical.bundle) / bundle.WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(b"no weights")
    try:
        found = judged(ward, worker, ward.study(ct(5, "P5")))
        fit, said = bundle_answer(ward.settings.clinical.bundle)
    finally:
        weights.write_bytes(content)
    assert found.verdict == "UNCALIBRATED"
    assert said == "weights weights.safetensors are not the published file"
    assert (fit, found.evidence["clinical_problem"]) == (False, said)


def test_without_the_key_values_of_the_study_are_used_alone(ward: Ward) -> None:
    """A key that cannot be read costs the patient's values and no verdict."""
    ward.receive(ct(6, "P6"))
    with ward.database.read() as tx:
        content = instances.of_study(tx, study_of(6))
    known = whose(content, ward.spool, ward.settings)
    assert known is not None
    key = ward.settings.pseudonyms / KEY
    whole = key.read_bytes()
    key.write_bytes(b"short")
    try:
        unnamed = whose(content, ward.spool, ward.settings)
    finally:
        key.write_bytes(whole)
    assert unnamed == replace(known, patient="")
    assert known.moment == datetime(2026, 3, 20, 8, tzinfo=UTC).timestamp()


def test_without_a_bundle_no_header_is_read(ward: Ward) -> None:
    """Nobody is named and nothing asked where no bundle is set."""
    unset = replace(ward.settings, clinical=replace(ward.settings.clinical, bundle=""))
    gone = Instance("1.2", "1.2", "1.2", "1.2", "1.2", "CT", "a" * 64, 1, "SCANNER")
    assert whose([gone], ward.spool, unset) is None


def test_the_check_says_that_a_bundle_is_for_trials(ward: Ward) -> None:
    """An administrator sees what stands behind the score before a study does."""
    fit, said = bundle_answer(ward.settings.clinical.bundle)
    assert fit
    assert said == "lung-trial, 41 patients; fitted to SIMULATED patients, for trials"


@pytest.mark.parametrize(
    "change",
    [{"given_value": 900}, {"name": "weight"}, {"report": "x"}, {"observed_at": -1}],
)
def test_a_child_that_answers_nonsense_is_not_believed(tmp_path: Path, change: Any) -> None:
    """Measurements are checked again before the worker keeps any."""
    good = {
        "report": "1.2.3", "name": "dlco", "value": 1, "given_value": 40, "given_unit": "%",
        "observed_at": 0,
    }  # fmt: skip
    path = tmp_path / "answer.json"
    content: dict[str, Any] = {
        "verdict": "CLEAR", "reason": "", "score": None, "p_value": None, "evidence": {},
        "stages": {}, "results": [], "peak_mib": 1, "measured": [good],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    assert Answer.read(path).measured[0]["name"] == "dlco"
    path.write_text(json.dumps(content | {"measured": [good | change]}))
    with pytest.raises(ChildFailed):
        Answer.read(path)
