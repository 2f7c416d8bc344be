"""The training loop: seeded, resumable to the bit, honest about failure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.training.augment import Augmentation, augmented
from models.training.loop import Run, optimise, seeded


def network() -> nn.Module:
    """Return a small network with dropout, so that its randomness matters."""
    with seeded(3):
        return nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.3), nn.GELU(), nn.Linear(16, 1))


def batch(generator: torch.Generator, size: int) -> tuple[Tensor, ...]:
    """Return points and the value to learn."""
    points = torch.randn((size, 4), generator=generator)
    return points, points.sum(1, keepdim=True)


def loss(model: nn.Module, points: Tensor, wanted: Tensor) -> Tensor:
    """Return the squared error."""
    return ((model(points) - wanted) ** 2).mean()


def trained(run: Run, steps: int = 60) -> dict[str, Tensor]:
    """Return the weights after so many steps."""
    made = network()
    optimise("toy", made, loss, batch, steps=steps, batch_size=8, learning_rate=1e-2, run=run)
    return made.state_dict()


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Return whether two sets of weights are the same to the bit."""
    return all(torch.equal(one[key], other[key]) for key in one)


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    """Training is a function of the seed."""
    assert equal(trained(Run(seed=1)), trained(Run(seed=1)))
    assert not equal(trained(Run(seed=1)), trained(Run(seed=2)))


def test_training_learns() -> None:
    """The loss that is logged falls."""
    seen: list[float] = []
    run = Run(log=lambda name, value, _: seen.append(value) if name == "toy/loss" else None)
    trained(run, 400)

    assert seen[-1] < 0.5 * seen[0]


DEVICES = (
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
    ),
)


class _Cut(Exception):
    """A run is cut off."""


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(tmp_path: Path, device: str) -> None:
    """Weights, optimiser, dropout and batches go on from the checkpoint, on either device."""

    def stop(_: str, done: int, __: int) -> None:
        if done == 40:
            raise _Cut

    whole = trained(Run(device=device))
    resumable = Run(device=device, checkpoints=tmp_path, checkpoint_seconds=0.0)
    with pytest.raises(_Cut):
        trained(replace(resumable, progress=stop))

    steps: list[int] = []

    def count(_: str, done: int, __: int) -> None:
        steps.append(done)

    again = replace(resumable, progress=count)
    assert equal(trained(again), whole)
    assert steps[0] == 40


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    """A checkpoint is not taken for that of other settings or data, nor a broken one read."""
    trained(Run(checkpoints=tmp_path))
    with pytest.raises(ModelError, match="another run"):
        trained(Run(seed=5, checkpoints=tmp_path))

    def doubled(generator: torch.Generator, size: int) -> tuple[Tensor, ...]:
        points, wanted = batch(generator, size)
        return 2 * points, wanted

    other = Run(checkpoints=tmp_path)
    with pytest.raises(ModelError, match="another run"):  # the same settings, other data
        optimise(
            "toy", network(), loss, doubled, steps=60, batch_size=8, learning_rate=1e-2, run=other
        )

    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="cannot be read"):
        trained(Run(checkpoints=tmp_path))


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    """Training that diverged is an error, never a bundle."""

    def broken(model: nn.Module, points: Tensor, wanted: Tensor) -> Tensor:
        return loss(model, points, wanted) * float("nan")

    with pytest.raises(ModelError, match="diverged at step 0"):
        optimise(
            "toy", network(), broken, batch, steps=5, batch_size=8, learning_rate=1e-2, run=Run()
        )


def test_training_leaves_the_callers_random_numbers_alone() -> None:
    """What is drawn after training does not depend on whether there was any."""
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    trained(Run(seed=9), 3)

    assert torch.equal(torch.rand(3), wanted)


def images() -> tuple[Tensor, Tensor]:
    """Return four images of an off-centre block on the background, and their masks."""
    picture = torch.full((4, 1, 32, 24), -1.0)
    picture[:, :, 10:16, 4:9] = 0.5
    return picture, picture > -1


def test_no_augmentation_changes_nothing() -> None:
    """With all limits at zero, images come back as they were."""
    picture, mask = images()
    still = Augmentation(degrees=0, shift=0, zoom=0, flip=0, intensity=0, gamma=1, noise=0)

    same, inside = augmented(picture, mask, torch.Generator().manual_seed(0), still)

    assert torch.allclose(same, picture, atol=1e-5)
    assert torch.equal(inside, mask)


def test_a_flip_mirrors_left_and_right_alone() -> None:
    """A certain flip is the mirrored image, mask and all."""
    picture, mask = images()
    flip = Augmentation(degrees=0, shift=0, zoom=0, flip=1.1, intensity=0, gamma=1, noise=0)

    mirrored, inside = augmented(picture, mask, torch.Generator().manual_seed(0), flip)

    assert torch.allclose(mirrored, picture.flip(3), atol=1e-5)
    assert torch.equal(inside, mask.flip(3))


def test_a_turn_keeps_shapes_in_images_that_are_not_square() -> None:
    """A rotation keeps an object's area, whatever the image's aspect."""
    picture = torch.full((16, 1, 64, 40), -1.0)
    picture[:, :, 28:36, 14:26] = 0.5
    turn = Augmentation(degrees=90, shift=0, zoom=0, flip=0, intensity=0, gamma=1, noise=0)

    _, inside = augmented(picture, picture > -1, torch.Generator().manual_seed(0), turn)

    areas = inside.float().sum((1, 2, 3))
    assert (areas - 96).abs().max() <= 14


def test_each_image_of_a_batch_is_changed_on_its_own_and_repeatably() -> None:
    """Equal images come out different from one another, and the same for the same seed."""
    picture, mask = images()

    one, _ = augmented(picture, mask, torch.Generator().manual_seed(4), Augmentation())
    two, _ = augmented(picture, mask, torch.Generator().manual_seed(4), Augmentation())

    assert torch.equal(one, two)
    assert not torch.allclose(one[0], one[1], atol=1e-2)
