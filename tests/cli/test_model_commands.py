"""`gatekeeper model`: what a physicist types, from reference scans to the bundle that answers."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import structlog
from support.small_bundle import PROFILE, SHAPE, SPACING, body, small_bundle
from typer.testing import CliRunner
from work import phantoms

from gatekeeper import check, log
from gatekeeper.cli import app
from gatekeeper.cli.output import console
from gatekeeper.work.worker import Worker
from models.manifests import MANIFEST
from models.registry import BundleInfo, read_bundle
from models.training.recipes import MEMBERS

runner = CliRunner()
NAME = "mr-pelvis-t2-intensity"
KEY = "MR/PELVIS/T2"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BundleInfo]:
    """Return two small bundles of one profile by name, neither of them the default."""
    folder = tmp_path_factory.mktemp("fitted")
    restricted = {"weights_licence": "CC BY-NC 4.0"}
    bundles = [small_bundle(folder), small_bundle(folder, "restricted", **restricted)]
    return {info.name: info for info in bundles}


@pytest.fixture(scope="module")
def nifti(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of six NIfTI scans of made-up bodies, two of them with a lesion."""
    folder = tmp_path_factory.mktemp("nifti")
    affine = np.diag([-SPACING, -SPACING, SPACING, 1.0])
    lines = ["file,subject,split,modality,body_part,sequence,lesion,label"]
    for number in range(100, 106):
        array = body(number)
        lesion = ""
        if number >= 104:
            mask = np.zeros_like(array)
            mask[8:11, 10:14, 10:14] = 1
            array = array * (1 + 2 * mask)
            lesion = f"{number}-lesion.nii"
            write(mask, affine, folder / lesion)
        write(array, affine, folder / f"{number}.nii")
        split = "train" if number < 104 else "dev"
        lines.append(f"{number}.nii,S{number},{split},MR,PELVIS,T2,{lesion},")
    (folder / "scans.csv").write_text("\n".join(lines) + "\n")
    return folder


def write(array: Any, affine: Any, path: Path) -> None:
    """Write (slices, rows, columns) as NIfTI."""
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), affine)
    image.set_sform(affine, code=1)
    image.to_filename(path)


@pytest.fixture
def site(
    tmp_path: Path, fitted: dict[str, BundleInfo], monkeypatch: pytest.MonkeyPatch
) -> Generator[Path]:
    """Return the site's folder of bundles, with both bundles in it."""
    folder = tmp_path / "bundles"
    for info in fitted.values():
        shutil.copytree(info.path, folder / info.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEKEEPER_MODELS_DIRECTORY", str(folder))
    yield folder
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print on a wide page, whatever COLUMNS was when the console was made."""
    monkeypatch.setattr(console, "_width", 250)


def run(*arguments: str | Path, code: int = 0) -> str:
    """Run `gatekeeper model ...` and return what it printed, in one line."""
    words = ["model", *(str(word) for word in arguments)]
    answer = runner.invoke(app, words)
    assert answer.exit_code == code, answer.output
    return " ".join(answer.output.split())


def read(*arguments: str | Path) -> Any:
    """Run a command with `--json` and return what it printed."""
    answer = runner.invoke(app, ["model", *(str(word) for word in arguments), "--json"])
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout, parse_constant=pytest.fail)


def answering() -> str | None:
    """Return who answers for the profile."""
    found = [row["name"] for row in read("list") if any(KEY in one for one in row["answers_for"])]
    return found[0] if found else None


def test_a_bundle_answers_from_activation_to_rollback(site: Path) -> None:
    """Nobody, one, the other, and back, each change in the history."""
    assert answering() is None
    assert f"{NAME} 1.0.0 answers for {KEY}" in run("activate", NAME)
    assert answering() == NAME
    assert "not for commercial use" in run("activate", "restricted")
    assert answering() == "restricted"
    run("rollback")
    assert answering() == NAME
    assert "No bundle answers" in run("deactivate", NAME)
    assert answering() is None
    run("rollback")
    assert answering() == NAME

    changes = read("history")
    assert [change["why"] for change in changes] == [
        f"model activate {NAME} 1.0.0",
        "model activate restricted 1.0.0",
        "model rollback to version 2",
        f"model deactivate {NAME}",
        "model rollback to version 4",
    ]
    assert changes[0]["digest"] == read_bundle(site / NAME).digest
    assert all("@" in change["who"] for change in changes)
    assert "deactivate" in run("history")
    run("rollback", "--by", "anna", "--why", "the first one was calibrated badly")
    assert answering() is None
    last = read("history")[-1]
    assert (last["who"], last["why"]) == ("anna", "the first one was calibrated badly")
    assert "no change to undo" in run("rollback", code=1)


def test_a_default_that_is_deactivated_leaves_nobody(site: Path) -> None:
    """Until the change is taken back."""
    path = site / NAME / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"default": True}))
    assert answering() == NAME
    assert "No bundle answers" in run("deactivate", NAME)
    assert answering() is None
    run("rollback")
    assert answering() == NAME
    assert "does not answer" in run("deactivate", "restricted", code=1)


def test_a_bundle_is_not_activated_for_what_it_was_not_made_for(site: Path) -> None:
    """Another part of the body, an unknown bundle, or words that are no profile."""
    assert f"made for {KEY}" in run("activate", NAME, "--for-profile", "MR/BRAIN/T2", code=1)
    assert "not a profile" in run("activate", NAME, "--for-profile", "brain", code=1)
    assert "not installed" in run("activate", "nothing", code=1)
    assert read("history") == []


def test_a_site_without_a_folder_is_told_to_set_one(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An imported bundle needs a place to be kept."""
    run("export", NAME, site.parent / "bundle.zip")
    monkeypatch.delenv("GATEKEEPER_MODELS_DIRECTORY")
    assert "models.directory" in run("import", site.parent / "bundle.zip", code=1)


def test_list_and_show_mark_what_is_active_and_what_is_restricted(site: Path) -> None:
    """With the size of the calibration and the smallest p-value that it allows."""
    run("activate", "restricted")
    listed = {row["name"]: row for row in read("list")}
    assert listed["restricted"]["answers_for"] == [f"{KEY} (activated)"]
    assert listed["restricted"]["non_commercial"]
    assert listed[NAME]["answers_for"] == []
    table = run("list")
    assert "NON-COMMERCIAL" in table
    assert "4 (p ≥ 0.2)" in table

    shown = run("show", "restricted")
    assert "NON-COMMERCIAL: CC BY-NC 4.0" in shown
    assert "4 subjects: no p-value is under 0.2" in shown
    assert "not active" in run("show", NAME)
    assert read("show", NAME) == read_bundle(site / NAME).manifest
    assert "not installed" in run("show", "nothing", code=1)


def test_a_bundle_goes_to_another_site_in_one_file(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exported here, imported there, where it answers once it is activated."""
    digest = read_bundle(site / NAME).digest
    assert digest in run("export", NAME, tmp_path / "bundle.zip")
    assert "exists" in run("export", NAME, tmp_path / "bundle.zip", code=1)

    monkeypatch.setenv("GATEKEEPER_MODELS_DIRECTORY", str(tmp_path / "elsewhere"))
    said = run("import", tmp_path / "bundle.zip")
    assert digest in said
    assert f"model activate {NAME}" in said
    assert "is installed" in run("import", tmp_path / "bundle.zip", code=1)
    run("import", tmp_path / "bundle.zip", "--replace")
    run("activate", NAME)
    assert answering() == NAME


def test_a_lost_bundle_is_found_by_the_check(site: Path) -> None:
    """The site chose it; nobody answers in its place, and `check` says so."""
    run("activate", NAME)
    shutil.rmtree(site / NAME)
    found = " ".join(answer.text for answer in check.run(None) if not answer.ok)
    assert f"{NAME} is activated, not installed" in found
    run("deactivate", NAME)
    found = " ".join(answer.text for answer in check.run(None) if not answer.ok)
    assert "is activated" not in found


def test_the_worker_names_restricted_models_when_it_starts(
    site: Path, tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One event for each that answers, once, with nothing dropped from it."""
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", sqlite_url)
    run("activate", "restricted")
    ward = phantoms.Ward(tmp_path, sqlite_url)
    models = replace(ward.settings.models, directory=str(site))
    worker = Worker(replace(ward.settings, models=models), ward.database, ward.spool)
    events = io.StringIO()
    log.configure("INFO", events)
    worker.stop()
    worker.run()
    ward.database.dispose()

    lines = [json.loads(line) for line in events.getvalue().splitlines()]
    told = [line for line in lines if line["event"] == "model_not_for_commercial_use"]
    assert [(line["model"], line["profile"]) for line in told if line["profile"] == KEY] == [
        ("restricted", KEY)
    ]
    assert not any("dropped_fields" in line for line in lines)


def profile_file(folder: Path) -> Path:
    """Write a site's own profile."""
    path = folder / "pelvis.json"
    path.write_text(json.dumps(PROFILE))
    return path


def test_training_writes_a_bundle_from_nifti(site: Path, nifti: Path, tmp_path: Path) -> None:
    """A profile of one's own, folds, and the losses for TensorBoard."""
    said = run(
        *("train", "intensity", "--profile", profile_file(tmp_path), "--data", nifti),
        *("--out", site, "--name", "own", "--folds", "2", "--seed", "3"),
        *("--set", "fraction=0.02"),
        *("--tensorboard", tmp_path / "losses", "--checkpoints", tmp_path / "kept", "--no-resume"),
    )

    manifest = read_bundle(site / "own").manifest
    assert "Wrote" in said
    assert (manifest["recipe"]["seed"], manifest["recipe"]["folds"]) == (3, 2)
    assert manifest["members"][0]["settings"]["fraction"] == 0.02
    assert manifest["calibration"]["subjects"] == ["S100", "S101", "S102", "S103"]
    assert list((tmp_path / "losses").glob("events*"))


def dicom(folder: Path) -> None:
    """Write four series of made-up bodies, one a patient, and one of another contrast."""
    for number in range(1, 6):
        made = phantoms.series(
            SHAPE[0],
            number=number,
            shape=SHAPE[1:],
            step=(0.0, 0.0, SPACING),
            BodyPartExamined="PELVIS",
            PixelSpacing=[SPACING, SPACING],
            Manufacturer="SIEMENS",
            ManufacturerModelName="Skyra",
            MagneticFieldStrength="3",
            description="t2_tse_tra" if number < 5 else "dwi",
            PatientID=f"P{number}",
        )
        for one, plane in zip(made, body(200 + number), strict=True):
            one.PixelData = plane.clip(0).astype("<u2").tobytes()
            (folder / f"{number}-{one.InstanceNumber}").write_bytes(phantoms.encoded(one))


def test_a_folder_of_dicom_files_trains_and_calibrates(site: Path, tmp_path: Path) -> None:
    """Recognised by itself; what is of another contrast is told, and no patient is named."""
    data = tmp_path / "dicom"
    data.mkdir()
    dicom(data)
    everyone = ("--data", data, "--split", "all")
    own = ("--profile", profile_file(tmp_path), "--out", site, "--name", "own", "--folds", "2")
    said = run("train", "intensity", *own, *everyone)
    assert "Left out: 1 x a series of another profile: MR PELVIS DWI" in said

    again = run("calibrate", "own", *everyone, "--fewest", "4", code=1)
    assert "4 scans left out (the bundle was made from this subject)" in again
    run("calibrate", NAME, *everyone, "--fewest", "4")

    (entry,) = read_bundle(site / NAME).manifest["site_calibrations"]
    assert (entry["device"], entry["protocol"]) == ("SIEMENS SKYRA 3T", "T2_TSE_TRA")
    for name in (NAME, "own"):
        text = (site / name / MANIFEST).read_text()
        assert not any(f'"P{number}"' in text for number in range(1, 6))


def test_training_says_what_it_cannot_do(
    site: Path, nifti: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown detector, profile, folder or device; a package that is not there."""
    base = ("--out", tmp_path / "out")
    own = ("--profile", profile_file(tmp_path), "--data", nifti, *base)
    assert "there are: " in run("train", "oracle", *own, code=1)
    assert "no profile" in run("train", "atlas", "--profile", "x", "--data", nifti, *base, code=1)
    missing = ("--profile", profile_file(tmp_path), "--data", tmp_path / "missing", *base)
    assert "no such folder" in run("train", "atlas", *missing, code=1)
    (tmp_path / "empty").mkdir()
    nothing = ("--profile", profile_file(tmp_path), "--data", tmp_path / "empty", *base)
    assert "dicom: DICOM files" in run("train", "atlas", *nothing, code=1)
    assert "cpu is" in run("train", "atlas", *own, "--device", "tpu", code=1)
    assert "NAME=VALUE" in run("train", "atlas", *own, "--set", "own", code=1)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    told = run("train", "atlas", *own, "--tensorboard", tmp_path / "losses", code=1)
    assert "pip install tensorboard" in told
    assert all(name in run("train", "--help") for name in MEMBERS)


def test_a_bundle_is_calibrated_on_the_sites_own_scans(site: Path, nifti: Path) -> None:
    """A new version in the site's folder, that answers in place of the old one."""
    run("activate", NAME)
    scanner = ("--device-name", "Siemens Skyra 3T", "--protocol", "t2 tse")
    said = run(
        *("calibrate", NAME, "--data", nifti, "--split", "train", *scanner, "--fewest", "4"),
    )

    info = read_bundle(site / NAME)
    assert info.version == "1.0.1"
    (entry,) = info.manifest["site_calibrations"]
    assert (entry["device"], entry["protocol"], entry["n"]) == ("SIEMENS SKYRA 3T", "T2_TSE", 4)
    assert "no p-value is under 0.2" in said
    assert f"It is {NAME} from now on" in said
    assert answering() == NAME
    too_few = run("calibrate", NAME, "--data", nifti, "--split", "train", *scanner, code=1)
    assert "4 subjects, fewer than 19" in too_few
    assert "together" in run("calibrate", NAME, "--data", nifti, "--protocol", "x", code=1)


def test_evaluation_writes_a_report_and_the_manifest(
    site: Path, nifti: Path, tmp_path: Path
) -> None:
    """Beside the floors of the profile; figures without a single patient in the manifest."""
    out = tmp_path / "report.html"
    floor = read_bundle(site / NAME).digest
    said = run(
        *("evaluate", "restricted", "--data", nifti, "--split", "all", "--out", out, "--write"),
    )

    assert f"{NAME} (floor)" in said
    assert "restricted" in out.read_text()
    metrics = read_bundle(site / "restricted").manifest["metrics"][f"{nifti.name}, all"]
    assert (metrics["patients"], metrics["scans"]) == (6, 6)
    assert metrics["voxels"]["lesion_patients"] == 2
    assert metrics["floors"][NAME]["voxels"] == metrics["voxels"]
    assert read_bundle(site / NAME).digest == floor
    assert "S100" not in json.dumps(metrics)
    assert "exists" in run("evaluate", NAME, "--data", nifti, "--out", out, code=1)


def test_evaluation_can_put_faults_on_healthy_scans(site: Path, nifti: Path) -> None:
    """Each fault in three strengths, as JSON without a number that JSON does not know."""
    shutil.rmtree(site / "restricted")
    only = ("--split", "train", "--limit", "1")
    every = ("evaluate", NAME, "--data", nifti, *only, "--faults")
    found = read(*every)

    assert {one["strength"] for one in found["faults"]["means"]} == {"mild", "moderate", "strong"}
    assert len(found["evaluations"][NAME]["scans"]) == 1
    strong = read(*every, "--strength", "strong")["faults"]
    assert strong["means"] == [
        one for one in found["faults"]["means"] if one["strength"] == "strong"
    ]
    assert "there are: mild, moderate, strong" in run(*every, "--strength", "gross", code=1)


def test_two_bundles_are_compared_in_words(site: Path, nifti: Path) -> None:
    """The same detector twice: no difference is shown."""
    said = run("compare", NAME, "restricted", "--data", nifti, "--split", "all")

    assert "study AUROC (DeLong)" in said
    assert f"No difference between {NAME} and restricted is shown" in said
    found = read("compare", NAME, "restricted", "--data", nifti, "--split", "all")
    assert found["study"]["difference"]["value"] == 0
    assert "itself" in run("compare", NAME, NAME, "--data", nifti, code=1)
