"""Training: deterministic, by subject, on real scans where they are beside the project."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.phantoms import body, volume, write_profile, write_set

from models import brain_extraction, shared_weights
from models.assessor import Assessor
from models.detector import load
from models.errors import ModelError
from models.evaluation.intervals import auroc, proportion
from models.features.config import FeaturesConfig
from models.features.fit import Described, coresets, fit_reference
from models.features.model import Description, global_score
from models.registry import BundleInfo, Registry, read_bundle
from models.sources.shared_sets import lgg, oasis
from models.training.calibrate import folds_of
from models.training.loop import Run
from models.training.recipes import profile
from models.training.train import Plan, train

SMALL = FeaturesConfig(levels=4, blocks=(2,), global_block=2, rows=32, columns=32)


def described(seed: int, subject: str, shift: float = 0.0) -> Described:
    """Return a made-up scan of random features."""
    generator = torch.Generator().manual_seed(seed)
    inside = np.ones((4, 8, 8), np.bool_)
    count = int(inside.sum())
    return Described(
        subject,
        Description(
            torch.randn((4, 24), generator=generator) + shift,
            torch.randn((count, 25), generator=generator) + shift,
            torch.rand((count, 3), generator=generator) * 2 - 1,
            inside,
            torch.ones(4, dtype=torch.bool),
        ),
    )


def test_leaving_a_subject_out_leaves_out_all_its_patches() -> None:
    """The memory without a subject holds none of its rows, and the others' unchanged in number."""
    scans = [described(i, f"s{i // 2}") for i in range(8)]
    chosen = coresets(scans, replace(SMALL, memory=40), 0, {})

    whole = fit_reference(scans, chosen, SMALL)
    without = fit_reference([scan for scan in scans if scan.subject != "s1"], chosen, SMALL)

    assert len(whole.memory) == 40
    assert len(without.memory) == 30
    assert {len(index) for index in chosen.values()} == {10}


def test_a_shifted_scan_lies_farther_from_the_reference() -> None:
    """Features moved as a whole give a larger global score."""
    scans = [described(i, f"s{i}") for i in range(12)]
    reference = fit_reference(scans, coresets(scans, replace(SMALL, memory=60), 0, {}), SMALL)

    near = global_score(described(99, "new").description, reference)
    far = global_score(described(99, "new", shift=1.0).description, reference)

    assert far > 3 * near


def test_levels_that_are_not_usable_do_not_count() -> None:
    """What a reference scan shows at an unusable level changes nothing."""
    scans = [described(i, f"s{i}") for i in range(6)]
    usable = torch.tensor([True, False, True, True])
    spoiled: list[Described] = []
    clean: list[Described] = []
    for scan in scans:
        marked = replace(scan.description, usable=usable)
        pooled = marked.pooled.clone()
        pooled[1] = 1e6
        clean.append(Described(scan.subject, marked))
        spoiled.append(Described(scan.subject, replace(marked, pooled=pooled)))
    always = described(50, "always")  # keeps level 1 usable somewhere

    chosen = coresets([*clean, always], replace(SMALL, memory=35), 0, {})

    assert torch.equal(
        fit_reference([*clean, always], chosen, SMALL).precision,
        fit_reference([*spoiled, always], chosen, SMALL).precision,
    )


def test_an_unknown_recipe_is_refused(tmp_path: Path) -> None:
    """Only known detectors and profiles are trained, and the ones there are get named."""
    with pytest.raises(ModelError, match="no recipe"):
        train(Plan("oracle", profile("mr-brain-t1"), tmp_path, tmp_path), Run())
    with pytest.raises(ModelError, match="mr-pelvis-t2"):
        profile("ct-chest")


def test_a_profile_that_does_not_say_what_it_must_is_refused(tmp_path: Path) -> None:
    """A site's own profile states its data, licence and use, or there is no bundle."""
    path = write_profile(tmp_path / "own.json")
    stated = json.loads(path.read_text())
    del stated["not_tested_on"]
    path.write_text(json.dumps(stated))

    with pytest.raises(ModelError, match="not_tested_on"):
        profile(str(path))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a reference set of eight bodies with a profile beside it."""
    pytest.importorskip("nibabel")
    folder = tmp_path_factory.mktemp("phantoms")
    write_set(folder / "set", 8)
    write_profile(folder / "own.json")
    return folder


@pytest.fixture(scope="module")
def bundle(phantoms: Path) -> BundleInfo:
    """Return a bundle of the atlas, trained on the bodies."""
    plan = Plan(
        "atlas", profile(str(phantoms / "own.json")), phantoms / "set", phantoms / "out", folds=4
    )
    return read_bundle(train(plan, Run()))


def test_the_same_seed_and_data_give_the_same_bundle(phantoms: Path, bundle: BundleInfo) -> None:
    """A bundle can be made again, to the byte."""
    plan = Plan(
        "atlas", profile(str(phantoms / "own.json")), phantoms / "set", phantoms / "again", folds=4
    )
    again = train(plan, Run())

    for path in sorted(bundle.path.iterdir()):
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_every_reference_subject_is_scored_once_by_a_model_without_it(bundle: BundleInfo) -> None:
    """The manifest lists each subject, and as many scores for each level."""
    calibration = bundle.manifest["calibration"]

    assert calibration["subjects"] == [f"s{seed:02d}" for seed in range(8)]
    assert {len(values) for values in calibration["scores"].values()} == {8}
    assert set(bundle.manifest["deciding"]) <= set(calibration["scores"])


def test_a_ball_in_a_body_is_the_first_region_at_its_place(bundle: BundleInfo) -> None:
    """A foreign ball is held, and the region of largest mass lies where the ball lies."""
    detector = load(bundle)
    clean = body(100)
    foreign = clean.copy()
    z, y, x = np.ogrid[:20, :64, :64]
    ball = ((z - 8) * 2) ** 2 + (y - 38) ** 2 + (x - 24) ** 2 < 5**2
    foreign[ball] = 260.0

    spared, found = detector.detect(volume(clean)), detector.detect(volume(foreign))

    assert found.p_value == pytest.approx(1 / 9)
    assert spared.p_value > found.p_value
    first = found.regions[0]
    centre = volume(clean).to_patient((8, 38, 24))
    assert np.linalg.norm(np.array(first.centre) - centre) < 8
    assert first.volume_mm3 == pytest.approx(ball.sum() * 54, rel=0.8)


def test_one_fold_holds_subjects_out_for_good(phantoms: Path) -> None:
    """With one fold, the calibration is split conformal on three in ten of the subjects."""
    plan = Plan(
        "intensity", profile(str(phantoms / "own.json")), phantoms / "set", phantoms / "one", 1
    )
    manifest = read_bundle(train(plan, Run())).manifest

    assert manifest["calibration"]["n"] == 2
    assert manifest["calibration"]["method"].startswith("split conformal")


def test_folds_share_no_subject_and_leave_none_out() -> None:
    """Every subject is held out exactly once."""
    names = [f"s{number}" for number in range(11)]

    dealt = folds_of(names, 4, seed=2)

    assert sorted(name for fold in dealt for name in fold) == sorted(names)
    assert len(dealt) == 4
    assert [len(fold) for fold in folds_of(names, 1000, seed=0)] == [1] * 11
    assert len(folds_of(names, 1, seed=0)) == 1


def test_too_few_subjects_are_refused(phantoms: Path) -> None:
    """A reference of two is none."""
    two = write_set(phantoms / "two", 2)
    plan = Plan("intensity", profile(str(phantoms / "own.json")), two, phantoms / "x")

    with pytest.raises(ModelError, match="2 subjects"):
        train(plan, Run())


def test_the_pelvis_has_a_recipe_and_no_bundle() -> None:
    """A pelvis can be trained for, and is never judged by a model of the brain."""
    assert profile("mr-pelvis-t2").statements["profile"]["body_part"] == "PELVIS"
    assert Registry().match("MR", "PELVIS", "T2") is None


def test_reference_scans_are_read_with_their_place(shared_data: Path) -> None:
    """OASIS is axial, 1 x 1 x 2 mm, back to the front of the array's rows; splits share no one."""
    train_scans = list(oasis(shared_data / "brain_t1_healthy_oasis", "train"))
    first = train_scans[0].volume

    assert len({scan.subject for scan in train_scans}) == 19
    assert first.spacing == (2.0, 1.0, 1.0)
    assert first.to_patient((1, 0, 0))[2] > first.to_patient((0, 0, 0))[2]
    dev = {scan.subject for scan in oasis(shared_data / "brain_t1_healthy_oasis", "dev")}
    assert len(dev) == 5
    assert not dev & {scan.subject for scan in train_scans}


def test_flair_scans_carry_their_normal_slices_and_lesions(shared_data: Path) -> None:
    """No slice is both normal and lesioned, and a lesion lies inside the head."""
    scan = next(iter(lgg(shared_data / "brain_flair_lgg", "dev")))

    assert scan.normal.shape == (len(scan.volume.array),)
    assert scan.lesion.shape == scan.volume.array.shape
    assert scan.lesion.any()
    assert not (scan.normal & scan.lesion.any(axis=(1, 2))).any()
    assert (scan.volume.array[scan.lesion] > 0).mean() > 0.99


def test_intervals_are_as_wide_as_few_patients_make_them() -> None:
    """Five of five is not certainty, and an AUROC of identical groups is a half."""
    all_five = proportion([True] * 5)

    assert all_five.value == 1.0
    assert all_five.low == pytest.approx(0.478, abs=0.001)
    assert auroc([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).value == 0.5
    assert auroc([0.0, 1.0], [2.0, float("inf")]).value == 1.0


def test_a_fault_of_the_series_is_told_and_holds_unless_it_is_tolerated(
    bundle: BundleInfo,
) -> None:
    """Slices that repeat are a defect; a profile that tolerates the check only remarks on it."""
    repeated = body(101)
    repeated[9] = repeated[8]
    faulty = volume(repeated)
    tolerant = replace(
        bundle, manifest={**bundle.manifest, "tolerated_defects": ["repeated_slices"]}
    )
    detector = load(bundle)
    lenient = Assessor(
        tolerant,
        detector.members,
        detector.calibrations,
        brain_extraction.from_weights(shared_weights.read(shared_weights.BRAIN_EXTRACTION)),
    )

    strict, remarked = detector.detect(faulty), lenient.detect(faulty)

    assert strict.defects
    assert strict.remarks == ()
    assert remarked.defects == ()
    assert remarked.remarks == strict.defects


def test_a_setting_changes_what_is_trained_and_stands_in_the_command(
    phantoms: Path, tmp_path: Path
) -> None:
    """By its name or the member's; what is unknown or of another kind is refused by name."""
    plan = Plan("atlas", profile(str(phantoms / "own.json")), phantoms / "set", tmp_path, folds=2)
    given = {"own": 1, "atlas.coarse": [1.0, 2.0]}
    manifest = read_bundle(train(replace(plan, settings=given), Run())).manifest

    settings = manifest["members"][0]["settings"]
    assert (settings["own"], settings["coarse"]) == (1.0, [1.0, 2.0])
    assert "--set own=1 --set 'atlas.coarse=[1.0, 2.0]'" in manifest["recipe"]["command"]
    with pytest.raises(ModelError, match=r"no setting .patch.; there are: .*coarse"):
        train(replace(plan, settings={"patch": 4}), Run())
    with pytest.raises(ModelError, match="setting 'cell' is like 2, not like '4 mm'"):
        train(replace(plan, settings={"cell": "4 mm"}), Run())
