"""Ensembles in repeated cross-validation: what is chosen where, what is a mean of what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.lesions import SMALL, made

from models.errors import ModelError
from models.lesion import assess, page, repeated, training
from models.lesion.crossvalidation import by_patient, gathered, splits
from models.lesion.lesions import Lesion, tensor
from models.lesion.repeated import Partition, Protocol
from models.training.loop import Run

_PROTOCOL = Protocol((3, 6), members=2)


def _partition(lesions: list[Lesion], protocol: Protocol = _PROTOCOL) -> Partition:
    parts = splits(made(8), 4)
    return repeated.partition(gathered(lesions, [], SMALL), parts, SMALL, Run(seed=2), protocol)


@pytest.fixture(scope="module")
def ensembles() -> Partition:
    """Four folds of eight made patients."""
    return _partition(made(8))


def test_a_training_that_stops_is_one_that_goes_on() -> None:
    """The network after three steps is the same whether six were to follow or not."""
    lesions = made(4)
    patches, weights = tensor([one.stack for one in lesions], SMALL), training.by_patient(lesions)
    first, last = training.fit_stages(patches, weights, SMALL, Run(), (3, 6))
    alone = training.fit_stages(patches, weights, SMALL, Run(), (3,))[0]
    whole = training.fit_network(patches, weights, SMALL, Run())
    for one, other in ((first, alone), (last, whole)):
        assert torch.equal(training.encoded(one, patches), training.encoded(other, patches))
    assert not torch.equal(training.encoded(first, patches), training.encoded(last, patches))


def test_a_folds_labels_reach_neither_its_length_nor_its_scores(ensembles: Partition) -> None:
    """With one fold's labels turned round, its choice and logits stay, to the last bit."""
    lesions = made(8)
    test = splits(lesions, 4)[1][1]
    for index in test:
        lesions[index] = replace(lesions[index], malignant=not lesions[index].malignant)
    turned = _partition(lesions)
    assert np.array_equal(turned.inner[1], ensembles.inner[1])
    assert turned.lengths[1] == ensembles.lengths[1]
    assert np.array_equal(turned.frozen[:, test], ensembles.frozen[:, test])
    assert np.array_equal(turned.joint[:, test], ensembles.joint[:, test])
    assert not np.array_equal(turned.frozen, ensembles.frozen)


def test_a_patients_score_is_the_mean_of_members_and_partitions() -> None:
    """Of two partitions with two members each, it is the mean of four logits."""
    lesions = made(6)
    found, parts = repeated.repeat(
        lesions, [], SMALL, Run(), Protocol((2,), members=2, partitions=2), folds=2
    )
    expected: NDArray[np.float64] = np.mean([one.frozen for one in parts], axis=(0, 1))
    assert np.allclose(found.frozen.logits, by_patient(lesions, expected).logits)
    assert len(found.codes) == 2 * 2 * 2
    assert not np.array_equal(parts[0].frozen[0], parts[0].frozen[1])


def test_the_report_shows_each_partition() -> None:
    """Ensembles, their members alone and the steps chosen stand beside floors for each kind."""
    found = assess.assess(
        made(6), [], SMALL, Run(), kinds=["gaussian"], folds=3, trials=0,
        protocol=Protocol((1, 2)),
    )  # fmt: skip
    text = page.render(found, "discs", "evaluate", [], {})
    assert "gaussian, partition 1, codes alone" in text
    assert "gaussian, codes alone, less the frame alone" in text
    assert '"inner"' in page.as_json(found)


def test_what_is_no_protocol_is_refused() -> None:
    """No length, a length twice, no member, or no fold left to choose by."""
    for wrong in (Protocol(()), Protocol((3, 3)), Protocol((3,), members=0)):
        with pytest.raises(ModelError):
            wrong.check()
    with pytest.raises(ModelError, match="three folds"):
        repeated.repeat(made(4), [], SMALL, Run(), Protocol((1, 2)), folds=2)
    with pytest.raises(ModelError, match="between 1 and 6"):
        training.fit_stages(torch.zeros(1), torch.ones(1), SMALL, Run(), (7,))
