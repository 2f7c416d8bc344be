"""Settings of the lesion model: what goes into a bundle's manifest and comes back out of it.

No torch here, so that the command line can list them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import ModelError
from models.stated import whole

KINDS = ("gaussian", "dirichlet")


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of Huang et al., arXiv 2311.15719; the published value in brackets if it differs.

    Attributes:
        kind: of latent: ``gaussian``, or ``dirichlet``, whose codes lie on a simplex.
        dims: 2, or 3 for a cube of `slices` slices.
        slices: neighbouring slices of a patch: channels of a 2-D network (more than one is 2.5-D),
            depth of a 3-D one.
        size: rows and columns of a patch [64]: 32 pixels of 1.4 mm show as much as 64 of 0.7.
        base: channels of the first convolution [32].
        latent: numbers in a code [8 * 32].
        low, high: Hounsfield units that become 0 and 1 [-1000, 400].
        alpha: weight of L1 against 1 - SSIM.
        beta: weight of |KL - C|, per pixel of a patch, in thousandths.
        capacity: C at the end of training, in nats; it grows linearly from 0 over half of it.
        concentration: of the symmetric Dirichlet prior, 0.5 to 0.99.
        steps: of the optimiser, before any label is used.
        batch_size: patches a step [64].
        learning_rate: of Adam.
        hidden: units of the classifier's hidden layer.
        classifier_steps: of the classifier alone, on fixed codes.
        classifier_decay: weight decay of the classifier.
        rounds: of joint tuning: the encoder with the label's cross-entropy added, then the
            classifier alone again. 0 leaves it out.
        joint_steps: of the encoder in each round.
        joint_weight: of the cross-entropy against the loss of the autoencoder.
    """

    kind: str = "gaussian"
    dims: int = 2
    slices: int = 1
    size: int = 32
    base: int = 8
    latent: int = 16
    low: float = -1000.0
    high: float = 240.0
    alpha: float = 0.5
    beta: float = 0.5
    capacity: float = 8.0
    concentration: float = 0.9
    steps: int = 600
    batch_size: int = 32
    learning_rate: float = 2e-3
    hidden: int = 16
    classifier_steps: int = 150
    classifier_decay: float = 0.1
    rounds: int = 2
    joint_steps: int = 40
    joint_weight: float = 0.1

    def check(self) -> None:
        """Refuse settings that do not fit together.

        Raises:
            ModelError: naming the rule broken.
        """
        if self.kind not in KINDS:
            raise ModelError(f"kind is one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.dims not in (2, 3):
            raise ModelError(f"dims is 2 or 3, not {self.dims}")
        if self.slices < 1 or self.slices % 2 == 0:
            raise ModelError("slices is odd: a patch has a middle slice")
        if self.size < 16 or self.size % 8:
            raise ModelError("size is a multiple of 8, at least 16: the encoder halves it 3 times")
        if not 0 <= self.alpha <= 1:
            raise ModelError("alpha lies between 0 and 1")
        if self.high <= self.low:
            raise ModelError("high is above low")
        if self.concentration <= 0:
            raise ModelError("concentration is over 0")
        if min(self.base, self.latent - 1, self.steps, self.batch_size - 1, self.hidden) < 1:
            raise ModelError("base, steps and hidden are at least 1, latent and batch_size 2")


def from_mapping(stated: Mapping[str, Any]) -> Config:
    """Return the settings that a manifest states.

    Raises:
        ModelError: if one is unknown, missing, of the wrong kind, or they do not fit together.
    """
    config = whole(Config(), stated, "lesion model")
    config.check()
    return config
