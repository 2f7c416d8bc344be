"""The siamese detector's settings, its network and the loss of a pair; see `siamese`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError
from models.prepare import GridConfig

FORMS = ("population", "patient")
_LATENT_SIDE = 2


@dataclass(frozen=True, slots=True)
class Config(GridConfig):
    """Settings. The papers' values are the defaults where one is named.

    Attributes:
        channels: contrasts of the images; published: 2, T1 and FLAIR.
        filters: of the four convolutions; published: 3, 4, 12, 16. The latent has 4 x the last.
        alpha: weight of the latents' similarity; ours: squared errors are summed over the patch.
        steps: optimiser steps.
        batch_size: pairs a step.
        learning_rate: at its largest.
        form: ``population`` or ``patient``.
        nu: part of the sample outside the boundary; published: 0.03.
        step: pixels between judged patches.
        location: pixels, a multiple of `step`: height and width of the place that shares one
            machine, for a machine a voxel would not fit on disk; published: 1.
        margin: judged patches around a place, in its own and the next levels, whose latents join
            its sample; published: 0.
        sample: latents a machine is fitted on, at most, drawn from a place's own; published: one a
            subject.
        patient_sample: patches of the patient that its machine is fitted on; published: 500.
        csf_prior: whether cerebrospinal fluid is left out of the map.
        csf_below: normalised intensity under which a voxel may be fluid; for T1 and FLAIR.
        focal_fraction: the part of the voxels, strangest first, whose mean is the focal score.
    """

    channels: int = 1
    filters: tuple[int, ...] = (3, 4, 12, 16)
    alpha: float = 0.5
    steps: int = 20_000
    batch_size: int = 64
    learning_rate: float = 8e-3
    form: str = "population"
    nu: float = 0.03
    step: int = 4
    location: int = 12
    margin: int = 2
    sample: int = 200
    patient_sample: int = 500
    csf_prior: bool = False
    csf_below: float = -0.4
    focal_fraction: float = 0.01

    @property
    def shape(self) -> tuple[int, int, int]:
        """The working grid's shape."""
        return self.levels, self.rows, self.columns

    @property
    def latent(self) -> int:
        """The latent's dimensions: the last filters at 2 x 2 places."""
        return self.filters[-1] * _LATENT_SIDE**2

    def checked(self) -> Config:
        """Return these settings.

        Raises:
            ModelError: if they contradict each other.
        """
        if self.form not in FORMS:
            raise ModelError(f"form {self.form!r} is not one of {', '.join(FORMS)}")
        if len(self.filters) != 4:
            raise ModelError("the encoder has four convolutions")
        if self.location % self.step or self.rows % self.step or self.columns % self.step:
            raise ModelError("the lattice's step does not divide the places or the images")
        return self


class SiameseAutoencoder(nn.Module):
    """Convolutions of 5, 3, 3 (stride 3) and 3 pixels to a latent, and the mirror image back.

    The paddings are not published; these are the ones with which 16 filters end in 64 dimensions.
    """

    def __init__(self, channels: int, filters: Sequence[int]) -> None:
        super().__init__()
        a, b, c, d = filters
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, a, 5, padding=2),  # (n, a, 15, 15)
            nn.GELU(),
            nn.Conv2d(a, b, 3),  # (n, b, 13, 13)
            nn.GELU(),
            nn.Conv2d(b, c, 3, stride=3),  # (n, c, 4, 4)
            nn.GELU(),
            nn.Conv2d(c, d, 3),  # (n, d, 2, 2)
            nn.Flatten(),
        )
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (d, _LATENT_SIDE, _LATENT_SIDE)),
            nn.ConvTranspose2d(d, c, 3),  # (n, c, 4, 4)
            nn.GELU(),
            nn.ConvTranspose2d(c, b, 3, stride=3, output_padding=1),  # (n, b, 13, 13)
            nn.GELU(),
            nn.ConvTranspose2d(b, a, 3),  # (n, a, 15, 15)
            nn.GELU(),
            nn.Conv2d(a, channels, 5, padding=2),
        )

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents, (n, latent), and patches again, (n, channels, 15, 15)."""
        latents = self.encoder(patches)
        return latents, self.decoder(latents)


def siamese_loss(network: nn.Module, pairs: Tensor, alpha: float) -> Tensor:
    """Return sum_t |x_t - x_hat_t|^2 - alpha cos(z_1, z_2), mean over pairs.

    `pairs` is (n, 2, channels, 15, 15).
    """
    patches = pairs.flatten(0, 1)
    latents, again = network(patches)
    error = (again - patches).square().sum((1, 2, 3)).unflatten(0, (-1, 2)).sum(1)
    first, second = latents.unflatten(0, (-1, 2)).unbind(1)
    return (error - alpha * functional.cosine_similarity(first, second)).mean()
