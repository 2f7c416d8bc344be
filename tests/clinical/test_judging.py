"""A study judged with a multimodal bundle: values in, an explanation out, the verdict untouched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clinical.reports import num, report
from pydicom import dcmread
from pydicom.dataset import Dataset
from work.phantoms import ROOT, Ward, series

from gatekeeper.clinical import service
from gatekeeper.clinical.checking import bundle_answer
from gatekeeper.errors import ChildFailed
from gatekeeper.pseudonym import site_key
from gatekeeper.work.messages import Answer
from gatekeeper.work.worker import Worker
from models.multimodal import bundle
from models.multimodal.crossfit import CrossFit, cross_fit
from models.multimodal.embedding import Encoder
from models.multimodal.model import Cohort
from models.multimodal.network import Config
from models.multimodal.simulate import NOTICE, simulated
from models.training.loop import Run
from storage import clinical_values, jobs, outcomes
from storage.records import Outcome

STUDY = f"{ROOT}.1"
DLCO, FEV1 = ("99GATEKEEPER", "dlco"), ("LN", "20152-5")


@pytest.fixture(scope="module")
def fitted() -> CrossFit:
    """Return a quick model of simulated patients, on embeddings of our encoder's size."""
    made = simulated().cohort
    assert made.embeddings.shape[1] == Encoder("body").size
    return cross_fit(Cohort(made.table, made.embeddings), Config(steps=30, folds=2), Run())


@pytest.fixture
def ward(tmp_path: Path, sqlite_url: str, fitted: CrossFit) -> Iterator[Ward]:
    """Give a database and spool whose worker has a multimodal bundle for CT."""
    folder = tmp_path / "bundles" / "lung-trial"
    bundle.write(folder, fitted, NOTICE, anatomy="body", modality="CT", simulated=True)
    made = Ward(tmp_path, sqlite_url)
    clinical = replace(made.settings.clinical, bundle=str(folder))
    made.settings = replace(made.settings, clinical=clinical)
    yield made
    made.database.dispose()


def ct(**attributes: Any) -> list[Dataset]:
    """Return a CT of a body in air, large enough to be embedded, of the patient P1."""
    made = series(
        18, modality="CT", description="", study=STUDY, shape=(24, 24),
        PatientID="P1", StudyDate="20260320", StudyTime="080000", **attributes,
    )  # fmt: skip
    for dataset in made:
        y, x = np.mgrid[-1:1:24j, -1:1:24j]
        inside = (x**2 + y**2 < 0.7).astype(np.int16)
        dataset.PixelData = (
            inside * 1000 + inside * (40 * np.sin(9 * x)).astype(np.int16)
        ).tobytes()
        dataset.RescaleIntercept = -1000
    return made


def keep(ward: Ward, **row: object) -> None:
    """Keep one value, as the REST API does."""
    with ward.database.begin() as tx:
        service.keep(tx, [row], "api", "laboratory", site_key(ward.settings.pseudonyms))


def judged(ward: Ward, job: int) -> Outcome:
    """Work on the job and return its outcome."""
    worker = Worker(ward.settings, ward.database, ward.spool)
    try:
        assert worker.run_once()
    finally:
        worker.close()
    with ward.database.read() as tx:
        found = outcomes.of_job(tx, job)
    assert found is not None, ward.job(job).reason
    return found


def text_of(ward: Ward, job: int) -> str:
    """Return the text of the job's report."""
    with ward.database.read() as tx:
        (result,) = outcomes.results_of_job(tx, job)
    report = dcmread(ward.spool.path(result.digest))
    return "\n".join(str(one.value) for one in report.iterall() if one.keyword == "TextValue")


def test_values_of_the_patient_reach_the_report_with_their_contributions(ward: Ward) -> None:
    """A value by the API, within the window, is used; the verdict is what it would have been."""
    keep(ward, patient="P1", observed="2026-03-01", name="dlco", value=31, unit="%")
    keep(ward, patient="P2", observed="2026-03-01", name="fev1", value=80, unit="%")
    keep(ward, patient="P1", observed="2025-03-01", name="spo2", value=95, unit="%")
    job = ward.study(ct())
    found = judged(ward, job)
    assert found.verdict == "UNCALIBRATED"
    assert found.reason == "Not assessed: no profile for CT (body part not stated)."
    (one,) = found.evidence["series"]
    clinical = one["clinical"]
    assert clinical["sources"] == {"dlco": "api"}
    assert {"fev1", "spo2"} <= set(clinical["missing"])
    total = clinical["baseline"] + sum(clinical["contributions"].values())
    assert clinical["score"] == pytest.approx(total, abs=1e-3)
    assert clinical["contributions"]["fev1"] == 0
    assert "P1" not in json.dumps(found.evidence)
    text = text_of(ward, job)
    assert "image and function together, which explains and does not decide" in text
    assert "TRIAL: fitted to simulated patients" in text


def test_a_report_in_the_study_is_used_and_kept_for_others(ward: Ward) -> None:
    """Its measurements explain this study, and are there for the patient's next one."""
    pft = report([num(DLCO, "42", "%"), num(FEV1, "2.5", "L")], STUDY)
    job = ward.study([*ct(), pft])
    found = judged(ward, job)
    (clinical,) = [one["clinical"] for one in found.evidence["series"] if "clinical" in one]
    assert clinical["sources"] == {"dlco": "sr"}
    with ward.database.read() as tx:
        kept = clinical_values.listing(tx)
    assert [(one.name, one.value, one.source) for one in kept] == [("dlco", 42, "sr")] * 2
    assert sorted(bool(one.patient) for one in kept) == [False, True]
    assert {one.reference for one in kept} == {str(pft.SOPInstanceUID)}


def test_a_value_that_came_after_the_job_is_not_used(ward: Ward) -> None:
    """Every attempt at a job gives the answer of its first."""
    job = ward.study(ct())
    keep(ward, study=STUDY, name="dlco", value=31, unit="%")
    with ward.database.read() as tx:
        (value,) = clinical_values.listing(tx)
        made = jobs.existing(tx, job)
    assert made.created_at < value.at
    (one,) = judged(ward, job).evidence["series"]
    assert "dlco" in one["clinical"]["missing"]


def test_without_a_bundle_nothing_is_read_or_kept(ward: Ward) -> None:
    """Reports are then objects like any other."""
    ward.settings = replace(ward.settings, clinical=replace(ward.settings.clinical, bundle=""))
    job = ward.study([*ct(), report([num(DLCO, "42", "%")], STUDY)])
    found = judged(ward, job)
    assert not any("clinical" in one for one in found.evidence["series"])
    with ward.database.read() as tx:
        assert clinical_values.listing(tx) == []


def test_a_broken_bundle_stops_no_verdict(ward: Ward) -> None:
    """What explains and does not decide is named as broken, and the study is judged."""
    folder = Path(ward.settings.clinical.bundle)
    (folder / bundle.WEIGHTS).write_bytes(b"no weights")
    found = judged(ward, ward.study(ct()))
    assert found.verdict == "UNCALIBRATED"
    assert (
        found.evidence["clinical_problem"]
        == "weights weights.safetensors are not the published file"
    )
    fit, said = bundle_answer(str(folder))
    assert (fit, said) == (False, found.evidence["clinical_problem"])


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
