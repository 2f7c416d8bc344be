"""The lesion network and its loss: shapes, both latents, and what the loss promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as reference_similarity
from support.lesions import SMALL

from models.errors import ModelError
from models.lesion import config as settings
from models.lesion import losses
from models.lesion.config import Config
from models.lesion.network import LesionNetwork


@pytest.mark.parametrize("kind", settings.KINDS)
@pytest.mark.parametrize(("dims", "slices"), [(2, 1), (2, 3), (3, 3)])
def test_a_patch_comes_back_in_its_own_shape(kind: str, dims: int, slices: int) -> None:
    """2-D, 2.5-D and 3-D patches are reconstructed in [0, 1], with a code of the stated length."""
    config = replace(SMALL, kind=kind, dims=dims, slices=slices)
    shape = (2, slices, 16, 16) if dims == 2 else (2, 1, slices, 16, 16)
    with torch.no_grad():
        found = LesionNetwork(config)(torch.rand(shape))
    assert found.image.shape == shape
    assert 0 <= float(found.image.min()) <= float(found.image.max()) <= 1
    assert found.code.shape == (2, config.latent)


def test_a_dirichlet_code_lies_on_the_simplex_and_passes_a_gradient() -> None:
    """Samples sum to one, and the loss of a sample reaches the encoder."""
    network = LesionNetwork(replace(SMALL, kind="dirichlet")).train()
    found = network(torch.rand(4, 1, 16, 16))
    assert torch.allclose(found.code.sum(1), torch.ones(4), atol=1e-5)
    found.image.sum().backward()
    gradient = network.code.weight.grad
    assert gradient is not None
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient.abs().sum()) > 0


@pytest.mark.parametrize("kind", settings.KINDS)
def test_the_divergence_is_that_of_the_posterior_from_the_prior(kind: str) -> None:
    """KL(q || p), not the reverse: it equals the mean log ratio over samples of the posterior."""
    config = replace(SMALL, kind=kind, concentration=0.8)
    network = LesionNetwork(config).eval()
    with torch.no_grad():
        posterior = network.encode(torch.rand(1, 1, 16, 16))
        expected = float(losses.divergence(posterior, config)[0])
        if kind == "gaussian":
            q = torch.distributions.Normal(posterior.first[0], (0.5 * posterior.second[0]).exp())
            p = torch.distributions.Normal(torch.zeros(config.latent), torch.ones(config.latent))
            drawn = q.sample((20000,))
            ratio = (q.log_prob(drawn) - p.log_prob(drawn)).sum(1)
        else:
            q = torch.distributions.Dirichlet(posterior.first[0].double())
            p = torch.distributions.Dirichlet(torch.full((config.latent,), 0.8).double())
            drawn = q.sample((20000,)).clamp_min(1e-30)
            drawn = drawn / drawn.sum(1, keepdim=True)
            ratio = q.log_prob(drawn) - p.log_prob(drawn)
    assert expected == pytest.approx(float(ratio.mean()), abs=6 * float(ratio.std()) / 20000**0.5)


def test_similarity_is_that_of_scikit_image() -> None:
    """SSIM agrees with an independent implementation, and is 1 for equal images."""
    generator = np.random.default_rng(0)
    first = generator.random((24, 24)).astype(np.float32)
    second = np.clip(first + 0.2 * generator.random((24, 24)), 0, 1).astype(np.float32)
    tensors = [torch.from_numpy(one)[None, None] for one in (first, second)]
    whole = cast("Any", reference_similarity(first, second, data_range=1.0, win_size=7, full=True))[
        1
    ]
    expected = float(whole[3:-3, 3:-3].mean())
    assert float(losses.structural_similarity(*tensors)[0]) == pytest.approx(expected, abs=1e-4)
    assert float(losses.structural_similarity(tensors[0], tensors[0])[0]) == pytest.approx(1)


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    """alpha L1 + (1 - alpha)(1 - SSIM) + beta / 1000 |KL - C|, with C grown half-way."""
    config = replace(SMALL, alpha=0.3, beta=2.0, capacity=6.0)
    network = LesionNetwork(config).eval()
    patches = torch.rand(3, 1, 16, 16)
    with torch.no_grad():
        parts = losses.loss(network(patches), patches, config, 0.25)
    expected = 0.3 * parts.l1 + 0.7 * parts.unlike + 0.002 * (parts.divergence - 3.0).abs()
    assert float(parts.total) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"kind": "laplace"}, "kind is one of"),
        ({"size": 20}, "multiple of 8"),
        ({"slices": 2}, "odd"),
        ({"dims": 4}, "2 or 3"),
        ({"alpha": 1.5}, "alpha"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], rule: str) -> None:
    """The error names the rule that is broken."""
    with pytest.raises(ModelError, match=rule):
        replace(SMALL, **change).check()


def test_settings_of_a_manifest_are_whole_and_of_their_kind() -> None:
    """What a manifest leaves out, adds or misspells is refused."""
    stated = {field: getattr(SMALL, field) for field in Config.__dataclass_fields__}
    assert settings.from_mapping(stated) == SMALL
    with pytest.raises(ModelError, match="unknown or missing"):
        settings.from_mapping(stated | {"more": 1})
    with pytest.raises(ModelError, match="setting 'latent' is like"):
        settings.from_mapping(stated | {"latent": "many"})
