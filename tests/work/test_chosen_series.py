"""What rules say of a series in the child: left out, or judged with the bundle that they name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from work.phantoms import STUDY, encoded, series
from work.test_assess import PROFILE, Fixed, assess, request

from gatekeeper.rules.verdict import Verdict
from gatekeeper.work.messages import Request
from gatekeeper.work.summary import evidence
from models.registry import BundleInfo, Registry

FIRST, SECOND = f"{STUDY}.1", f"{STUDY}.2"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Return bundles of which one answers for T1 and the others for nothing by themselves."""
    for name, modality, default in (
        ("mr-brain-t1", "MR", True),
        ("mr-special", "MR", False),
        ("ct-special", "CT", False),
    ):
        folder = tmp_path / "bundles" / name
        folder.mkdir(parents=True)
        manifest = {
            "name": name,
            "version": "1",
            "detector": "features",
            "default": default,
            "profile": PROFILE | {"modality": modality},
            "weights": {},
            "shared_weights": {},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return Registry([tmp_path / "bundles"], shipped=False)


def test_a_series_that_a_rule_leaves_out_is_not_analysed(
    tmp_path: Path, registry: Registry
) -> None:
    """Its reason names the rule; the other series decides."""
    detector = Fixed(0.5)
    asked = request([*series(), *series(number=2)], tmp_path, skipped={SECOND: "no localizers"})

    study = assess(asked, registry, detector)

    assert len(detector.seen) == 1
    assert study.judgement.verdict is Verdict.CLEAR
    by_uid = {str(item.source.series_instance_uid): item.judgement for item in study.series}
    assert by_uid[SECOND].reason == "Not assessed: left out by rule 'no localizers'."
    assert study.left_out == ()
    assert "left_out" not in evidence(study)


def test_a_damaged_series_that_is_left_out_spoils_nothing(
    tmp_path: Path, registry: Registry
) -> None:
    """It is not read for its faults either."""
    damaged = [encoded(item)[:-50] for item in series(number=2)]
    asked = request([*map(encoded, series()), *damaged], tmp_path)
    assert assess(asked, registry, Fixed(0.5)).judgement.verdict is Verdict.UNREADABLE

    left_out = replace(asked, skipped={SECOND: "scouts"})
    assert assess(left_out, registry, Fixed(0.5)).judgement.verdict is Verdict.CLEAR


def test_a_study_of_which_all_is_left_out_names_the_rules(
    tmp_path: Path, registry: Registry
) -> None:
    """So that it can pass without results, and be told from one that no profile covers."""
    rules = {FIRST: "b", SECOND: "a"}
    asked = request([*series(), *series(number=2)], tmp_path, skipped=rules)
    detector = Fixed(0.5)

    study = assess(asked, registry, detector)

    assert detector.seen == []
    assert study.left_out == ("a", "b")
    assert evidence(study)["left_out"] == ["a", "b"]
    assert study.judgement.verdict is Verdict.UNCALIBRATED


def test_the_bundle_that_a_rule_names_judges_the_series(tmp_path: Path, registry: Registry) -> None:
    """Whatever its description says, and whoever answers for it otherwise."""
    used: list[str] = []
    detector = Fixed(0.5)

    def detector_of(info: BundleInfo) -> Fixed:
        used.append(info.name)
        return detector

    from gatekeeper.work.assess import assess_study
    from gatekeeper.work.stages import Stages

    asked = request(
        [*series(), *series(number=2, description="odd")],
        tmp_path,
        models={FIRST: "mr-special", SECOND: "mr-special"},
    )
    study = assess_study(asked, registry, detector_of, Stages())

    assert used == ["mr-special"] * 2
    assert study.judgement.verdict is Verdict.CLEAR


@pytest.mark.parametrize(
    ("name", "why"), [("nobody", "is not installed"), ("ct-special", "judges CT only")]
)
def test_a_bundle_that_cannot_judge_it_is_said_and_no_other_takes_its_place(
    tmp_path: Path, registry: Registry, name: str, why: str
) -> None:
    """UNCALIBRATED: the rule wanted that bundle and no default."""
    detector = Fixed(0.5)

    study = assess(request(series(), tmp_path, models={FIRST: name}), registry, detector)

    assert study.judgement.verdict is Verdict.UNCALIBRATED
    assert study.judgement.reason == f"Not assessed: the bundle {name} that a rule names {why}."
    assert detector.seen == []


def test_what_rules_say_reaches_the_child_as_it_was_written(tmp_path: Path) -> None:
    """Through the request file."""
    path = tmp_path / "request.json"
    asked = request([], tmp_path, models={FIRST: "a"}, skipped={SECOND: "b"})
    asked.write(path)

    assert Request.read(path) == asked
