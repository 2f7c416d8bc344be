"""What came of mutants, counted, and every promise that was broken."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from support.mutants import Mutant

PATIENT = re.compile(rb"CANARY|PATIENT")
"""Text of a patient, in a log or a reason."""


class BrokenPromise(AssertionError):
    """What must never happen, happened."""


@dataclass
class Tally:
    """What came of all mutants.

    Attributes:
        outcomes: how many mutants of each outcome.
        broken: promises that were broken, with the mutants that broke them.
        slowest: seconds and name of the slowest.
        largest: MiB and name of the one that took most memory.
    """

    outcomes: Counter[str] = field(default_factory=Counter[str])
    broken: list[str] = field(default_factory=list[str])
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[int, str] = (0, "")

    def add(self, mutant: Mutant, outcome: str, seconds: float, mib: int = 0) -> None:
        """Count one outcome."""
        self.outcomes[outcome] += 1
        self.slowest = max(self.slowest, (seconds, named(mutant)))
        self.largest = max(self.largest, (mib, named(mutant)))

    def blame(self, mutant: Mutant, what: str) -> None:
        """Note a broken promise."""
        self.broken.append(f"{named(mutant)}: {what}")


def named(mutant: Mutant) -> str:
    """Return how a mutant is found again."""
    return f"{mutant.number} ({mutant.kind} of {mutant.original.name})"
