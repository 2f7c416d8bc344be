"""Floors: what tells benign from malignant without the network, or without the lesion.

All by penalised logistic regression in the same folds and with the same weights as the model. What
knows nothing of the lesion (the frame, a patch of the back with the table in it) and still tells
the classes apart is the scanner, the position or the choice of slices: the confound of the set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.lesion import factors, training
from models.lesion.crossvalidation import PatientScores, Split, by_patient
from models.lesion.lesions import Lesion, labels

_COMPONENTS = 16
_PENALTY = 0.1

NAMES = {
    "the frame alone": "confound",
    "a patch of the back and table": "confound",
    "prominence of the candidate": "floor",
    "measured factors": "floor",
    "16 principal components of the patch": "floor",
}
"""Floor -> whether it knows nothing of the lesion (``confound``) or of the network (``floor``)."""


def floors(lesions: Sequence[Lesion], folds: Sequence[Split]) -> dict[str, PatientScores]:
    """Return each floor's scores of patients that it was not fitted on."""
    flat = np.stack([one.stack[len(one.stack) // 2].ravel() for one in lesions])
    inputs: dict[str, tuple[NDArray[Any], bool]] = {
        "the frame alone": (np.array([one.frame for one in lesions]), False),
        "a patch of the back and table": (
            np.stack([one.context.ravel() for one in lesions]), True,
        ),
        "prominence of the candidate": (np.array([[one.prominence] for one in lesions]), False),
        "measured factors": (factors.measured(lesions), False),
        "16 principal components of the patch": (flat, True),
    }  # fmt: skip
    return {
        name: by_patient(lesions, _logits(values, components, lesions, folds))
        for name, (values, components) in inputs.items()
        if values.shape[1]
    }


def _logits(
    values: NDArray[Any], components: bool, lesions: Sequence[Lesion], folds: Sequence[Split]
) -> NDArray[np.float64]:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    truth = labels(lesions)
    found = np.zeros(len(lesions))
    for train, test in folds:
        weights = training.balanced([lesions[index] for index in train]).numpy()
        count = min(_COMPONENTS, len(train) - 1)
        first = [PCA(count, random_state=0)] if components else []
        model = make_pipeline(
            *first, StandardScaler(), LogisticRegression(C=_PENALTY, max_iter=2000)
        )
        model.fit(values[train], truth[train], logisticregression__sample_weight=weights)
        found[test] = model.decision_function(values[test])
    return found
