"""Composing: what somebody takes is made, in the order in which it is sent, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from results.golden_study import assessed_study

from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.common import to_bytes
from gatekeeper.results.kinds import KINDS, STATEMENT, USUAL, VIEWERS, UnknownKindError, parse
from gatekeeper.rules.verdict import Judgement, Verdict
from gatekeeper.work.compose import compose
from gatekeeper.work.stages import Stages


def test_every_kind_is_made_once_for_whoever_takes_everything(mni_study: StudyAssessment) -> None:
    """Documents first, then the overview, a picture a slice, and what few viewers show."""
    stages = Stages()
    made = list(compose(mni_study, tuple(KINDS), "none", stages))

    assert list(dict.fromkeys(kind for kind, _ in made)) == list(KINDS)
    counted = Counter(kind for kind, _ in made)
    assert counted.pop("heatmap") == len(mni_study.series[0].source.slices)
    assert set(counted.values()) == {1}
    assert len({str(dataset.SOPInstanceUID) for _, dataset in made}) == len(made)
    assert set(stages.milliseconds) == {"report", "render", "objects"}


@pytest.mark.parametrize("wanted", [tuple(KINDS), ("report-enhanced", "report-2d", "plain-report")])
def test_no_two_objects_of_a_series_have_one_number(wanted: tuple[str, ...]) -> None:
    """A viewer lists a series by InstanceNumber; a form's number is its own, whoever else is."""
    made = list(compose(assessed_study(), wanted, "none", Stages()))

    places = [(dataset.SeriesInstanceUID, dataset.InstanceNumber) for _, dataset in made]
    assert len(set(places)) == len(places)
    forms = {kind: dataset.InstanceNumber for kind, dataset in made if kind.startswith("report")}
    assert forms.items() <= {"report": 1, "report-2d": 2, "report-enhanced": 3}.items()


def test_what_nobody_takes_is_not_made(mni_study: StudyAssessment) -> None:
    """A node that takes key objects alone gets no heatmap, and costs none."""
    stages = Stages()
    made = list(compose(mni_study, ("key-objects", STATEMENT), "none", stages))

    assert [kind for kind, _ in made] == ["key-objects"]


def test_a_study_without_an_assessed_series_has_a_statement_alone(
    mni_study: StudyAssessment,
) -> None:
    """Whoever takes anything is told why, and by no picture."""
    judgement = Judgement(Verdict.UNCALIBRATED, "Not assessed: no profile for MR KNEE.")
    series = replace(mni_study.series[0], judgement=judgement, finding=None)
    study = replace(mni_study, judgement=judgement, series=(series,))

    ((kind, document),) = compose(study, ("parametric-map", STATEMENT), "rle", Stages())

    assert kind == STATEMENT
    assert document.Modality == "SR"
    assert b"no profile for MR KNEE" in to_bytes(document)


@pytest.mark.parametrize(
    ("compression", "syntax"),
    [("none", ExplicitVRLittleEndian), ("rle", RLELossless), ("jpeg2000", JPEG2000Lossless)],
)
def test_pictures_are_compressed_as_configured_and_nothing_else(
    mni_study: StudyAssessment, compression: str, syntax: str
) -> None:
    """Documents and values stay as they are: they are small, or no lossless codec is for them."""
    wanted = ("report", "montage", "segmentation")
    made = dict(compose(mni_study, wanted, compression, Stages()))

    assert made["montage"].file_meta.TransferSyntaxUID == syntax
    for kind in ("report", "segmentation"):
        assert made[kind].file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_kinds_are_named_once_in_their_order() -> None:
    """What viewers show is made of kinds there are; a kind that is none is named."""
    assert parse(["heatmap", "report", "heatmap"]) == ("report", "heatmap")
    assert all(set(shown) <= set(KINDS) for shown in (*VIEWERS.values(), USUAL))
    assert all(len(kind) <= 16 for kind in (*KINDS, STATEMENT))
    with pytest.raises(UnknownKindError, match="no kind of result 'hologram'"):
        parse(["report", "hologram"])
