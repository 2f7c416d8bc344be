"""Scan: one scan of a reference or test set, with what is known of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.volume import Volume


@dataclass(frozen=True, slots=True)
class Synthetic:
    """What drew a scan that no scanner acquired.

    Attributes:
        source: the contrasts it was drawn from, for example ``T1`` or ``T1+T2``.
        model: name of the synthesis model.
        digest: SHA-256 of the model's manifest, 64 lowercase hexadecimal digits.
    """

    source: str
    model: str
    digest: str

    def __str__(self) -> str:
        return f"from {self.source} by {self.model}@{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the mark that `str` wrote.

        Raises:
            ModelError: if it is none.
        """
        parts = re.fullmatch(r"from (\S+) by (\S+)@([0-9a-f]{64})", text)
        if parts is None:
            raise ModelError(
                f"a synthetic scan is marked `from CONTRAST by MODEL@DIGEST`, not {text!r}"
            )
        return cls(parts[1], parts[2], parts[3])


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """One scan of a set.

    Attributes:
        name: the scan's name in its set.
        subject: whose it is; all scans of a subject stay on one side of every split.
        volume: the scan.
        normal: bool, (slices,): which slices may stand for normal.
        lesion: bool, like the volume: where a lesion was drawn.
        site: institution or scanner, as far as the set tells.
        label: class of the scan, for example ``normal``; empty when the set has none.
        companions: other contrasts on the same grid, by sequence: float32, like the volume.
        synthetic: what drew the volume; None for a scan of a scanner.
    """

    name: str
    subject: str
    volume: Volume
    normal: NDArray[np.bool_]
    lesion: NDArray[np.bool_]
    site: str = ""
    label: str = ""
    companions: Mapping[str, NDArray[np.float32]] = field(
        default_factory=dict[str, NDArray[np.float32]]
    )
    synthetic: Synthetic | None = None

    def refuse_synthetic(self, use: str) -> None:
        """Refuse a synthetic scan where only real ones count.

        Args:
            use: what the scan was to serve, for the error.

        Raises:
            ModelError: if this scan is synthetic.
        """
        if self.synthetic is not None:
            raise ModelError(
                f"{self.name} is synthetic ({self.synthetic}): a synthetic scan may help to fit a "
                f"detector and never enters {use}"
            )
