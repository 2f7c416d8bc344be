"""No header, however broken, stops a segmentation or a parametric map that has a grid."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from results.test_hostile_headers import KEYWORDS, RUBBISH, broken

from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.common import to_bytes
from gatekeeper.results.parametric import parametric_map
from gatekeeper.results.segmentation import segmentation

MAKERS = (segmentation, parametric_map)


@pytest.fixture(scope="module")
def few(mni_slices: Sequence[Dataset], assess: Any) -> StudyAssessment:
    """Return an assessment of two slices with a region."""
    return assess(mni_slices[11:13])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(24))
def test_rubbish_in_a_header_stops_no_result(few: StudyAssessment, seed: int) -> None:
    """What can be made is made, can be written and read back, and names its study."""
    chance = random.Random(seed)
    rubbish = {keyword: chance.choice(RUBBISH) for keyword in chance.sample(KEYWORDS, 12)}
    study = broken(few, rubbish)

    for made in (maker(study, study.series[0]) for maker in MAKERS):
        if made is None:
            # Only a header without a frame of reference or a place of its own has no grid.
            assert {"FrameOfReferenceUID", "ImagePositionPatient"} & rubbish.keys()
            continue
        read = dcmread(io.BytesIO(to_bytes(made)))
        assert read.StudyInstanceUID == study.study_instance_uid
        assert str(read)


@pytest.mark.parametrize("value", RUBBISH)
def test_where_there_is_a_grid_no_attribute_keeps_a_result_back(
    few: StudyAssessment, value: bytes
) -> None:
    """A header with a sound frame of reference and place, and rubbish in all else, has both."""
    needed = {"FrameOfReferenceUID", "ImagePositionPatient"}
    study = broken(few, {keyword: value for keyword in KEYWORDS if keyword not in needed})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for maker in MAKERS:
            made = maker(study, study.series[0])
            assert made is not None
            assert to_bytes(made)
