"""Brain extraction: which voxels of a T1-weighted head are brain.

The network is the bounding-box model of deepbet 1.0.2 (Fisch et al., 'deepbet: Fast brain
extraction of T1-weighted MRI using Convolutional Neural Networks', Computers in Biology and
Medicine 2024; MIT licence, text beside the weights): a 3-D residual encoder-decoder in the manner
of LinkNet, on the whole head resized to 128 x 128 x 128 in RAS order. Written anew here and checked
against the original, `models.training.convert_weights`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError, NotAssessable

GRID = (128, 128, 128)
SMALLEST_BRAIN_ML = 800.0
LARGEST_BRAIN_ML = 2200.0


def _normalised(channels: int) -> list[nn.Module]:
    return [nn.InstanceNorm3d(channels), nn.ReLU()]


class Block(nn.Module):
    """Two 3x3x3 convolutions with a residual, down-sampled where the stride is 2."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv3d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
            *_normalised(channels_out),
            nn.Conv3d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.InstanceNorm3d(channels_out),
        )
        self.downsample = (
            nn.Sequential(
                nn.Conv3d(channels_in, channels_out, 1, stride=stride, bias=False),
                nn.InstanceNorm3d(channels_out),
            )
            if stride != 1
            else nn.Identity()
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return (batch, channels out, i / stride, j / stride, k / stride)."""
        return functional.relu(self.double_conv(input) + self.downsample(input))


class Down(nn.Module):
    """Two blocks, the first of which may down-sample."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.block1 = Block(channels_in, channels_out, stride)
        self.block2 = Block(channels_out, channels_out, 1)

    def forward(self, input: Tensor) -> Tensor:
        """Return the encoded `input`."""
        return self.block2(self.block1(input))


class Up(nn.Module):
    """1x1x1 to a quarter of the channels, transposed 3x3x3, 1x1x1 to the wanted channels."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        narrow = channels_in // 4
        self.conv1 = nn.Sequential(
            nn.Conv3d(channels_in, narrow, 1, bias=False), *_normalised(narrow)
        )
        self.tp_conv = nn.Sequential(
            nn.ConvTranspose3d(narrow, narrow, 3, stride, 1, stride - 1, bias=False),
            *_normalised(narrow),
        )
        self.conv2 = nn.Sequential(
            nn.Conv3d(narrow, channels_out, 1, bias=False), *_normalised(channels_out)
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return (batch, channels out, i * stride, j * stride, k * stride)."""
        return self.conv2(self.tp_conv(self.conv1(input)))


class BrainNet(nn.Module):
    """Head in, probability of (background, brain) out, on the same grid."""

    def __init__(self) -> None:
        super().__init__()
        self.init = nn.Sequential(
            nn.Conv3d(1, 16, 7, stride=2, padding=3, bias=False),
            *_normalised(16),
            nn.MaxPool3d(3, stride=2, padding=1),
        )
        self.down0 = Down(16, 16, 1)
        self.down1 = Down(16, 32, 2)
        self.down2 = Down(32, 64, 2)
        self.down3 = Down(64, 128, 2)
        self.up0 = Up(128, 64, 2)
        self.up1 = Up(64, 32, 2)
        self.up2 = Up(32, 16, 2)
        self.up3 = Up(16, 16, 1)
        self.tp_conv1 = nn.Sequential(nn.ConvTranspose3d(16, 8, 3, 2, 1, 1), *_normalised(8))
        self.conv = nn.Sequential(nn.Conv3d(8, 8, 3, padding=1), *_normalised(8))
        self.tp_conv2 = nn.ConvTranspose3d(8, 2, 2, stride=2)
        self.eval()
        self.requires_grad_(requires_grad=False)

    def forward(self, head: Tensor) -> Tensor:
        """Return probabilities, (batch, 2, 128, 128, 128), of (batch, 1, 128, 128, 128)."""
        x0 = self.init(head)
        x1 = self.down0(x0)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x = self.up0(self.down3(x3)) + x3
        x = self.up1(x) + x2
        x = self.up2(x) + x1
        x = self.up3(x) + x0
        return torch.softmax(self.tp_conv2(self.conv(self.tp_conv1(x))), dim=1)


def from_weights(weights: Mapping[str, Tensor]) -> BrainNet:
    """Return the network with these weights (stored as float16, computed in float32).

    Raises:
        ModelError: if a tensor is missing, unknown or of the wrong shape.
    """
    network = BrainNet()
    try:
        network.load_state_dict({name: value.to(torch.float32) for name, value in weights.items()})
    except RuntimeError as error:
        raise ModelError("the weights do not fit the brain extraction network") from error
    return network


def brain_mask(network: BrainNet, head: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the brain of a head, on the network's own grid.

    Args:
        network: the extraction network.
        head: (i, j, k) to the right, front and top of the patient (RAS), any spacing; the whole
            field of view, of which the network sees 128 x 128 x 128 nearest neighbours.

    Returns:
        bool (128, 128, 128) over the same field of view: the largest component, holes filled.

    Raises:
        NotAssessable: if there is no contrast or no brain.
    """
    small = nearest(head, GRID)
    low, high = np.quantile(small, (0.005, 0.995))
    if not high > low:
        raise NotAssessable("the image has no contrast")
    clipped = np.clip((small - low) / (high - low), 0.0, 1.0)
    scaled = 0.226 * (clipped - clipped.mean()) / clipped.std(ddof=1) + 0.449
    with torch.inference_mode():
        device = network.tp_conv2.weight.device
        tensor = torch.from_numpy(scaled.astype(np.float32))[None, None].to(device)
        probability = network(tensor)[0, 1].cpu().numpy()
    labels, count = cast("tuple[NDArray[np.int32], int]", ndimage.label(probability > 0.5))
    if count == 0:
        raise NotAssessable("no brain was found in the image")
    largest = int(np.bincount(labels.ravel())[1:].argmax()) + 1
    return cast("NDArray[np.bool_]", ndimage.binary_fill_holes(labels == largest))


def check_volume(mask: NDArray[np.bool_], shape: tuple[int, ...], voxel_mm3: float) -> None:
    """Refuse a brain that no adult has.

    Args:
        mask: brain over the field of view of a source.
        shape: voxels of the source along each axis.
        voxel_mm3: volume of a voxel of the source.

    Raises:
        NotAssessable: if the volume is implausible.
    """
    millilitres = float(mask.mean() * np.prod(shape) * voxel_mm3 / 1000.0)
    if not SMALLEST_BRAIN_ML <= millilitres <= LARGEST_BRAIN_ML:
        raise NotAssessable(
            f"the brain found has {millilitres:.0f} mL, outside the plausible "
            f"{SMALLEST_BRAIN_ML:.0f} to {LARGEST_BRAIN_ML:.0f} mL"
        )


def nearest(array: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return `array` on `shape` cells over the same field of view, by nearest cell centre."""
    for axis, size in enumerate(shape):
        index = ((np.arange(size) + 0.5) * array.shape[axis] / size).astype(np.intp)
        array = array.take(index, axis=axis)
    return array
