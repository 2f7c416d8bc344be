"""Split: on which side of training, calibration and development a subject falls.

The side is a function of the subject alone: it does not depend on which other subjects are
there, on their order or on how many scans each has, so a subject never changes sides when a set
grows, and all scans of a subject are on one side.
"""

from __future__ import annotations

import hashlib
import math

from models.errors import ModelError

FRACTIONS = (("train", 0.7), ("calibration", 0.15), ("dev", 0.15))
"""The sides and the part of the subjects that each gets, in expectation."""
SALT = "gatekeeper-split-1"
"""Goes into the hash before the subject; another salt gives another, independent split."""
EVERYTHING = "all"
"""Not a side: every subject, for a set that no model has been fitted or calibrated on."""
SPLITS = (*(name for name, _ in FRACTIONS), EVERYTHING)
"""What a reader offers of a set that has no split of its own."""


def split_of(
    subject: str, fractions: tuple[tuple[str, float], ...] = FRACTIONS, salt: str = SALT
) -> str:
    """Return the side of a subject.

    The first 8 bytes of SHA-256 of ``salt:subject`` (UTF-8), as a big-endian integer over 2^64,
    are a number in [0, 1); the side is where it falls on the fractions laid end to end.

    Args:
        subject: the subject's name in its set.
        fractions: names of the sides and their parts, which sum to 1.
        salt: see `SALT`.

    Raises:
        ModelError: if the fractions do not sum to 1 or the subject has no name.
    """
    if not subject:
        raise ModelError("a subject without a name cannot be put on one side of a split")
    if not math.isclose(sum(part for _, part in fractions), 1.0) or any(
        part < 0 for _, part in fractions
    ):
        raise ModelError("the fractions of a split are at least 0 and sum to 1")
    digest = hashlib.sha256(f"{salt}:{subject}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2.0**64
    end = 0.0
    for name, part in fractions:
        end += part
        if place < end:
            return name
    return fractions[-1][0]  # rounding left the sum a hair under 1


def on_side(subject: str, split: str) -> bool:
    """Return whether a subject of a set without a split of its own belongs to `split`."""
    return split == EVERYTHING or split_of(subject) == split
