"""What the child does around a detector."""

from __future__ import annotations

import numpy as np
import pytest

from gatekeeper.work.child import WithFallback
from models.errors import NotAssessable
from models.finding import Finding
from models.registry import Registry
from models.volume import Volume


class Exhausted:
    """A detector whose accelerator has no memory left."""

    def __init__(self) -> None:
        self.asked = 0

    def detect(self, volume: Volume) -> Finding:
        import torch

        self.asked += 1
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_scan_too_large_for_the_accelerator_is_judged_on_the_processor() -> None:
    """Out of memory there, the same bundle answers here, once."""
    info = Registry().match("MR", "BRAIN", "T1")
    assert info is not None
    exhausted = Exhausted()
    empty = Volume(np.zeros((24, 64, 64), np.float32), np.diag([2.0, 1.0, 1.0, 1.0]), "MR")

    with pytest.raises(NotAssessable):
        WithFallback(info, exhausted).detect(empty)
    assert exhausted.asked == 1
