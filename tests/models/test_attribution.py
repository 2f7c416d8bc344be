"""Attribution: exact on networks whose answer is known, and caught where it ignores the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.attribution import gradients, sanity
from models.attribution.lesions import edges
from models.attribution.localisation import averaged, locate, summary
from models.attribution.occlusion import local_mean, occlusion
from models.attribution.sanity import Verdict
from models.errors import ModelError
from models.training.loop import seeded

SIZE = 12


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Return numbers in [0, 1], the same for the same seed."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def linear(weights: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the score that is the sum of pixels times weights."""
    return lambda images: (images * weights).flatten(1).sum(1)


def small_network() -> nn.Sequential:
    """Return a convolutional network of one number an image, not trained."""
    with seeded(3):
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.GELU(),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 1),
            nn.Flatten(0),
        ).eval()


LAYERS = ("6", "2", "0")


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Sequential, Tensor]:
    """Return a network that tells on which side of the lower half a spot is, and images.

    The upper half is loud and says nothing: a network that has learned nothing looks there.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((64, 1, SIZE, SIZE), generator=generator)
    images[:, :, SIZE // 2 :] *= 0.3
    truth = torch.arange(64) % 2
    for image, right in zip(images, truth, strict=True):
        column = 1 + 6 * int(right) + int(torch.randint(0, 2, (1,), generator=generator))
        image[0, 8:11, column : column + 3] += 0.6
    network = small_network().train()
    loss = torch.ones(())
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(70):
        loss = functional.binary_cross_entropy_with_logits(network(images), truth.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1
    return network.eval(), images[:6]


@pytest.mark.parametrize("window", [1, 3])
def test_occlusion_of_a_linear_score_is_what_lies_under_the_window(window: int) -> None:
    """Windows side by side: the fall is the window's weights times what the baseline takes away."""
    weights, images = drawn(1, SIZE, SIZE, seed=1) - 0.5, drawn(2, 1, SIZE, SIZE)
    found = occlusion(linear(weights), images, 0.25, window=window, stride=window)
    expected = functional.avg_pool2d(weights * (images - 0.25), window) * window**2
    tall = expected.repeat_interleave(window, 2).repeat_interleave(window, 3)[:, 0]
    assert np.allclose(found, tall, atol=1e-5)


def test_windows_that_overlap_are_averaged_over_all_channels_at_once() -> None:
    """Of one pixel that counts, every window over it falls by all its channels together."""
    weights = torch.zeros(3, SIZE, SIZE)
    weights[:, 5, 5] = 2.0
    found = occlusion(linear(weights), torch.ones(1, 3, SIZE, SIZE), 0.0, window=3, stride=1)
    assert found[0, 5, 5] == pytest.approx(6.0, abs=1e-5)
    assert float(np.abs(found[0, :3]).max()) == 0.0
    assert 0 < found[0, 3, 5] < 6


@pytest.mark.parametrize(("window", "stride"), [(13, 1), (3, 4), (3, 0)])
def test_windows_that_leave_gaps_are_refused(window: int, stride: int) -> None:
    """A stride over the window's side would leave pixels that nothing covers."""
    with pytest.raises(ModelError, match="occlusion window"):
        occlusion(linear(drawn(1)), drawn(1, 1, SIZE, SIZE), 0.0, window=window, stride=stride)


def test_surroundings_take_nothing_from_outside_the_brain() -> None:
    """Inside, a constant stays what it is however black the outside; outside, nothing changes."""
    inside = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.bool)
    inside[..., 3:9, 3:9] = True
    images = torch.where(inside, 0.7, -1.0)
    assert torch.allclose(local_mean(images, 2.0, inside), images, atol=1e-5)
    assert float(local_mean(images, 2.0)[0, 0, 5, 5]) < 0.7


def test_the_gradient_of_a_linear_score_is_its_weights() -> None:
    """Plain and smoothed alike; noise changes nothing where the gradient is the same everywhere."""
    weights, images = drawn(1, SIZE, SIZE, seed=1) - 0.5, drawn(2, 1, SIZE, SIZE)
    expected = weights.expand(2, -1, -1).numpy()
    assert np.allclose(gradients.gradient(linear(weights), images), expected, atol=1e-6)
    assert np.allclose(gradients.smoothed(linear(weights), images, 0.1, 4), expected, atol=1e-5)


def test_integrated_gradients_add_up_to_the_change_of_the_score(
    trained: tuple[nn.Sequential, Tensor],
) -> None:
    """Completeness (Sundararajan 2017): the sum is the score less the baseline's score."""
    network, images = trained
    found, gap = gradients.integrated(network, images, 0.2, 128)
    with torch.no_grad():
        change = network(images) - network(torch.full_like(images, 0.2))
    assert found.sum((1, 2)) == pytest.approx(change.numpy(), abs=0.02)
    assert float(np.abs(gap).max()) < 0.02
    assert float(change.abs().min()) > 0.5


def test_maps_are_the_same_again(trained: tuple[nn.Sequential, Tensor]) -> None:
    """The same seed gives the same smoothed map and the same check; another seed another."""
    network, images = trained
    one, two, other = (gradients.smoothed(network, images, 0.1, 4, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    checks = [
        sanity.check(lambda n: gradients.gradient(n, images), network, LAYERS, seed=5, draws=1)
        for _ in range(2)
    ]
    assert checks[0].as_json() == checks[1].as_json()


def test_maps_of_a_trained_network_follow_its_weights(
    trained: tuple[nn.Sequential, Tensor],
) -> None:
    """Occlusion changes when the layers are drawn anew, and the network itself is left alone."""
    network, images = trained
    before = copy.deepcopy(network.state_dict())
    found = sanity.check(
        lambda n: occlusion(n, images, 0.15, window=3, stride=1), network, LAYERS, draws=2
    )
    assert found.verdict is not Verdict.IGNORES
    assert found.ranks.shape == (3, 6)
    assert abs(found.rank) < 0.6
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_edge_detector_fails_the_check(trained: tuple[nn.Sequential, Tensor]) -> None:
    """What ignores the weights stays as it was: rank correlation and SSIM of 1, not to be read."""
    network, images = trained
    found = sanity.check(lambda _: edges(images), network, LAYERS, draws=2)
    assert found.rank == pytest.approx(1.0)
    assert found.structure == pytest.approx(1.0)
    assert found.verdict is Verdict.IGNORES
    assert found.changes_at == ""
    assert "do not read it" in found.of(0)[2]
    assert found.as_json()["images"][Verdict.IGNORES] == len(images)


def test_the_cascade_draws_one_layer_more_each_time(
    trained: tuple[nn.Sequential, Tensor],
) -> None:
    """From the last to the first; the layers not yet reached are as trained."""
    network, _ = trained
    copies = list(sanity.cascade(network, LAYERS, 0))
    for number, changed in enumerate(copies):
        for place, name in enumerate(LAYERS):
            weight = cast("nn.Linear", network.get_submodule(name)).weight
            same = torch.equal(cast("nn.Linear", changed.get_submodule(name)).weight, weight)
            assert same == (place > number)


def test_flat_maps_are_compared_without_a_number_that_is_none() -> None:
    """A map gone flat has nothing in common with the trained one; two flat maps are alike."""
    flat, other = np.zeros((8, 8)), np.arange(64.0).reshape(8, 8)
    assert sanity.rank_similarity(flat, other) == 0.0
    assert sanity.rank_similarity(flat, flat) == 1.0
    assert sanity.rank_similarity(other, -other) == pytest.approx(1.0)
    assert np.isfinite(sanity.structural_similarity(flat, other))


def test_mass_is_held_against_the_area_of_the_lesion() -> None:
    """Even maps have the mass of chance; what is negative and what is outside does not count."""
    lesion = np.zeros((8, 8), dtype=np.bool_)
    lesion[2:4, 2:4] = True
    inside = np.ones((8, 8), dtype=np.bool_)
    inside[0] = False
    even = locate(np.ones((8, 8)), lesion, inside)
    assert even is not None
    assert even.mass == pytest.approx(even.area) == pytest.approx(4 / 56)
    there = np.where(lesion, 1.0, -5.0)
    there[0] = 100.0
    found = locate(there, lesion, inside)
    assert found is not None
    assert (found.mass, found.hit) == (1.0, 1.0)
    assert locate(there, np.zeros((8, 8)), inside) is None
    both = summary([averaged([even, found])] * 6)
    assert both.mass.value == pytest.approx((1 + 4 / 56) / 2)
    assert both.patients == 6
