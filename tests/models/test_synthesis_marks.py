"""Synthetic scans help to fit a detector, are told of everywhere, and never count as scans."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import run
from support.small_bundle import PROFILE, scan, scans, small_bundle
from support.working_grid import LEVELS, SIZE, ellipse, reference

from models import synthetic_share
from models.detector import load
from models.errors import ModelError
from models.evaluation import assess, quality_gate
from models.registry import BundleInfo, read_bundle
from models.scan import Scan, Synthetic
from models.synthesis.completion import SHEET
from models.training.calibrate import cross_fit, fit_apart
from models.training.loop import Run
from models.training.recipes import Profile
from models.training.site_calibration import calibrate
from models.training.train import Plan, train

MARK = Synthetic("T1", "t1-t2", "ab" * 32)


def completed_set(folder: Path, seeds: range) -> Path:
    """Write bodies as a folder of completed scans."""
    nibabel = pytest.importorskip("nibabel")
    folder.mkdir()
    rows = ["file,subject,split,label,modality,body_part,sequence,synthetic"]
    for seed in seeds:
        volume = scan(seed).volume
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine[:, [2, 1, 0, 3]]
        image: Any = nibabel.Nifti1Image(volume.array.transpose(2, 1, 0), affine)
        nibabel.save(image, folder / f"s{seed}.nii.gz")
        rows.append(f"s{seed}.nii.gz,subject-{seed},train,normal,MR,PELVIS,T2,{MARK}")
    (folder / "scans.csv").write_text("\n".join(rows) + "\n")
    sheet = {
        "model": MARK.model, "digest": MARK.digest, "source": MARK.source, "data": "one patient",
        "weights_licence": "CC BY", "set": "bodies", "set_licence": "CC BY-NC",
    }  # fmt: skip
    (folder / SHEET).write_text(json.dumps(sheet))
    return folder


def plan(out: Path, given: list[Scan], **more: Any) -> Plan:
    """Return a plan to fit the intensity floor to these scans."""
    stated = {key: PROFILE[key] for key in PROFILE if key not in ("name", "version", "settings")}
    profile = Profile(PROFILE["name"], PROFILE["version"], "", PROFILE["settings"], {}, stated)
    return Plan("intensity", profile, out, out, folds=2, scans=lambda: given, **more)


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three completed scans, one of a subject whom a scanner saw too."""
    return completed_set(tmp_path_factory.mktemp("completed") / "set", range(3, 6))


@pytest.fixture(scope="module")
def info(completed: Path, tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """Return a bundle fitted on four scans of scanners and three synthetic ones."""
    out = tmp_path_factory.mktemp("both")
    return read_bundle(train(plan(out, scans(range(4)), completed=completed), Run()))


def synthetic(seed: int) -> Scan:
    """Return a synthetic scan of a known scanner and protocol."""
    return replace(scan(seed, device="D", protocol="P"), synthetic=MARK)


def test_a_bundle_says_how_many_of_its_scans_are_synthetic_and_by_what(info: BundleInfo) -> None:
    """Counts, model and digest, data and licences; among the limits and in every report."""
    words = "3 of the 7 scans it was fitted on are synthetic: T2 drawn from T1 by t1-t2@abababab"
    stated = info.manifest[synthetic_share.ENTRY]

    assert (stated["scans"], stated["subjects"], stated["real_scans"]) == (3, 3, 4)
    assert stated["digest"] == MARK.digest
    assert stated["set_licence"] == "CC BY-NC"
    assert any(words in limit for limit in info.manifest["not_tested_on"])
    assert words in load(info).detect(scan(9).volume).calibration_description
    assert info.non_commercial
    assert "subject-5" in info.manifest["recipe"]["subjects"]
    assert "--completed FOLDER" in info.manifest["recipe"]["command"]


def test_a_bundle_is_calibrated_on_scans_of_scanners_alone(info: BundleInfo) -> None:
    """As many scores as subjects that a scanner saw; the synthetic ones have none."""
    calibration = info.manifest["calibration"]

    assert calibration["subjects"] == [f"subject-{number}" for number in range(4)]
    assert {len(scores) for scores in calibration["scores"].values()} == {4}
    assert (info.manifest["data"]["scans"], info.manifest["data"]["subjects"]) == (4, 4)


def test_a_bundle_without_synthetic_scans_says_nothing_of_them(tmp_path: Path) -> None:
    """No entry, no words: the bytes of such a manifest are as they were."""
    plain = small_bundle(tmp_path)

    assert synthetic_share.ENTRY not in plain.manifest
    assert synthetic_share.in_words(plain.manifest) == ""
    assert "synthetic" not in json.dumps(dict(plain.manifest))


def test_synthetic_scans_can_stand_alone_and_scanners_still_calibrate(
    completed: Path, tmp_path: Path
) -> None:
    """Fitted on the synthetic ones, calibrated on everybody else; a subject of both is refused."""
    apart = plan(tmp_path, scans(range(6, 10)), completed=completed, completed_alone=True)

    manifest = read_bundle(train(apart, Run())).manifest

    assert manifest["calibration"]["n"] == 4
    assert manifest["calibration"]["method"].startswith("split conformal: fitted on synthetic")
    assert manifest[synthetic_share.ENTRY]["real_scans"] == 0
    with pytest.raises(ModelError, match="subject-3 is fitted on"):
        train(plan(tmp_path, scans(range(4)), completed=completed, completed_alone=True), Run())
    with pytest.raises(ModelError, match="nothing to fit on alone"):
        train(plan(tmp_path, scans(range(4)), completed_alone=True), Run())


class Counting:
    """A detector that notes whom it was fitted on."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.fitted: list[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def fit(self, examples: Any, config: Any, run: Run) -> Any:
        """Note the subjects, and fit."""
        self.fitted.append([one.subject for one in examples])
        return self.module.fit(examples, config, run)


def test_a_held_out_subjects_synthetic_scan_is_held_out_too() -> None:
    """Nothing of the subject that is judged was fitted on, drawn or acquired."""
    from models.detectors import intensity

    config = intensity.Config(levels=LEVELS, rows=SIZE, columns=SIZE)
    real = reference([ellipse(n, texture=0.1, narrow=0.6, noise=0.05) for n in range(4)])
    drawn = replace(real[0], synthetic=MARK)
    module = Counting(intensity)

    cross_fit(module, real, config, 4, Run(), [drawn])  # type: ignore[arg-type]

    assert all(len(one) in (3, 4) for one in module.fitted[:-1])
    without = [one for one in module.fitted[:-1] if real[0].subject not in one]
    assert [len(one) for one in without] == [3]
    assert len(module.fitted[-1]) == 5
    with pytest.raises(ModelError, match="calibration takes only"):
        cross_fit(module, [*real, drawn], config, 4, Run())  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="calibration takes only"):
        fit_apart(module, real, [drawn], config, Run())  # type: ignore[arg-type]


def test_a_synthetic_scan_is_refused_wherever_only_real_ones_count(
    info: BundleInfo, completed: Path, tmp_path: Path
) -> None:
    """Reference, site calibration, evaluation and faults refuse it by its mark."""
    never = r"is synthetic \(from T1 by t1-t2@ab.*never enters "
    with pytest.raises(ModelError, match=never + "calibration"):
        train(plan(tmp_path, [*scans(range(4)), synthetic(8)]), Run())
    with pytest.raises(ModelError, match=never + "calibration"):
        calibrate(info, [synthetic(8)], tmp_path)
    with pytest.raises(ModelError, match=never + "evaluation"):
        assess.evaluate({"one": load(info)}, [synthetic(8)])
    with pytest.raises(ModelError, match=never + "evaluation"):
        quality_gate.measure({"one": load(info)}, [synthetic(8)])
    (completed / "scans.csv").write_text(
        (completed / "scans.csv").read_text().replace(MARK.digest, "cd" * 32)
    )
    with pytest.raises(ModelError, match="is not drawn by t1-t2"):
        train(plan(tmp_path, scans(range(4)), completed=completed), Run())


def test_list_and_show_tell_a_bundle_with_synthetic_scans(
    info: BundleInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the list by a mark, in its sheet in words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("GATEKEEPER_MODELS_DIRECTORY", str(info.path.parent))

    assert "+3 SYNTHETIC" in run("model", "list")
    assert "3 of the 7 scans it was fitted on are synthetic" in run("model", "show", info.name)
