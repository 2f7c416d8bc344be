"""Traversals: what each number of a code changes in the picture, as a strip and as an animation.

A row is one number of the code, moved from low to high while the others stay at those of an average
lesion. A Gaussian number goes from -2.5 to 2.5 standard deviations of the codes; a Dirichlet number
from none to the share that one patch in a hundred has, the others shrinking in proportion. Each row
is named by the measured factor that the number follows best among the patches given, with
Spearman's rho: what the row *should* show.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import stats
from torch import Tensor

from models.lesion import factors
from models.lesion.lesions import Lesion, tensor
from models.lesion.training import Fitted

_ZOOM = 3
_MARGIN, _TOP = 190, 34
_REACH = 2.5
_RARE, _MOST = 0.99, 0.95
_MILLISECONDS = 120


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One number of the code, moved.

    Attributes:
        number: which.
        name: factor that it follows best.
        rho: Spearman's correlation with it.
        pictures: float32, (steps, rows, columns), in [0, 1].
        logits: of malignancy at each step, (steps,), not calibrated.
    """

    number: int
    name: str
    rho: float
    pictures: NDArray[np.float32]
    logits: NDArray[np.float64]


def traverse(
    fitted: Fitted, lesions: Sequence[Lesion], steps: int = 9, most: int = 8
) -> tuple[Row, ...]:
    """Return the rows of the numbers that follow a factor best, at most so many, best first."""
    config = fitted.config
    codes = fitted.codes(tensor([one.stack for one in lesions], config))
    measured = factors.measured(lesions)
    values = codes.double().numpy()
    rows: list[Row] = []
    for number in range(config.latent):
        rho = np.array(
            [_rho(values[:, number], measured[:, index]) for index in range(measured.shape[1])]
        )
        best = int(np.abs(rho).argmax())
        path = _path(codes, number, steps, config.kind)
        with torch.inference_mode():
            images = fitted.network.decode(path)
            logits = fitted.classifier(path).double().numpy()
        middle = (
            images[:, config.slices // 2] if config.dims == 2 else images[:, 0, config.slices // 2]
        )
        rows.append(
            Row(number, factors.NAMES[best], float(rho[best]), middle.float().numpy(), logits)
        )
    rows.sort(key=lambda row: -abs(row.rho))
    return tuple(rows[:most])


def _rho(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(cast("float", stats.spearmanr(first, second)[0]))


def _path(codes: Tensor, number: int, steps: int, kind: str) -> Tensor:
    """Return the codes of a row, (steps, latent)."""
    middle = codes.mean(0)
    path = middle.repeat(steps, 1)
    if kind == "gaussian":
        ends = _REACH * float(codes[:, number].std())
        path[:, number] = middle[number] + torch.linspace(-ends, ends, steps)
        return path
    parts = torch.linspace(0.0, min(float(codes[:, number].quantile(_RARE)), _MOST), steps)
    others = middle.clone()
    others[number] = 0.0
    path = (1.0 - parts)[:, None] * (others / others.sum())
    path[:, number] = parts
    return path


def strip(rows: Sequence[Row], title: str) -> bytes:
    """Return the rows as one labelled picture (PNG)."""
    return _png(_drawn(rows, title, None))


def animation(rows: Sequence[Row], title: str) -> bytes:
    """Return the rows as an animation (GIF): the strip, then each column and back."""
    steps = len(rows[0].pictures)
    order = [*range(steps), *range(steps - 2, 0, -1)]
    frames = [_drawn(rows, title, step).quantize(64) for step in order]
    stream = io.BytesIO()
    frames[0].save(
        stream, "GIF", save_all=True, append_images=frames[1:], duration=_MILLISECONDS, loop=0
    )
    return stream.getvalue()


def _drawn(rows: Sequence[Row], title: str, step: int | None) -> Image.Image:
    side = rows[0].pictures.shape[1] * _ZOOM
    shown = range(len(rows[0].pictures)) if step is None else [step]
    font = ImageFont.load_default(15)
    small = ImageFont.load_default(12)
    width = _MARGIN + len(shown) * (side + 4)
    canvas = Image.new("L", (max(width, _MARGIN + 330), _TOP + len(rows) * (side + 4)), 255)
    pen = ImageDraw.Draw(canvas)
    pen.text((8, 8), title, fill=0, font=font)
    for index, row in enumerate(rows):
        top = _TOP + index * (side + 4)
        pen.text((8, top + side // 2 - 26), f"number {row.number + 1}", fill=0, font=font)
        pen.text((8, top + side // 2 - 4), f"{row.name}, rho {row.rho:+.2f}", fill=60, font=small)
        change = row.logits[-1] - row.logits[0]
        word = "malignant" if change > 0 else "benign"
        pen.text(
            (8, top + side // 2 + 14), f"right: more {word} ({change:+.1f})", fill=60, font=small
        )
        for place, one in enumerate(shown):
            grey = Image.fromarray((np.clip(row.pictures[one], 0, 1) * 255).astype(np.uint8))
            left = _MARGIN + place * (side + 4)
            canvas.paste(grey.resize((side, side), Image.Resampling.BICUBIC), (left, top))
            pen.text((left + 3, top + 2), f"{row.logits[one]:+.1f}", fill=255, font=small)
    return canvas


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()
