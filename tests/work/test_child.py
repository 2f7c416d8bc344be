"""What the child does around a detector."""

from __future__ import annotations

import numpy as np
import pytest

from gatekeeper.work.child import WithFallback
from models.detector import Detector, load
from models.errors import NotAssessable
from models.finding import Finding
from models.registry import BundleInfo, Registry
from models.volume import Volume

EMPTY = Volume(np.zeros((24, 64, 64), np.float32), np.diag([2.0, 1.0, 1.0, 1.0]), "MR")


class Exhausted:
    """A detector whose accelerator has no memory left."""

    def __init__(self) -> None:
        self.asked = 0

    def detect(self, volume: Volume) -> Finding:
        import torch

        self.asked += 1
        raise torch.OutOfMemoryError("CUDA out of memory")


def brain() -> BundleInfo:
    """Return the bundle for T1-weighted brains."""
    info = Registry().match("MR", "BRAIN", "T1")
    assert info is not None
    return info


def test_a_scan_too_large_for_the_accelerator_is_judged_on_the_processor() -> None:
    """Out of memory there, the same bundle answers here, once."""
    info, exhausted = brain(), Exhausted()

    def on(device: str) -> Detector:
        return exhausted if device == "cuda" else load(info, device)

    with pytest.raises(NotAssessable):
        WithFallback(on).detect(EMPTY)
    assert exhausted.asked == 1


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_an_accelerator_that_others_have_filled_leaves_the_scans_to_the_processor(
    words: str,
) -> None:
    """What an H100 said with too little memory for a context, a library, or a plan of its own."""
    asked: list[str] = []
    info = brain()

    def on(device: str) -> Detector:
        asked.append(device)
        if device == "cuda":
            raise RuntimeError(words)
        return load(info, "cpu")

    detector = WithFallback(on)

    for _ in range(2):
        with pytest.raises(NotAssessable):
            detector.detect(EMPTY)
    assert detector.fell_back
    assert asked == ["cuda", "cpu", "cpu"]


def test_a_defect_on_both_is_an_error() -> None:
    """The processor hides nothing that is wrong with a scan or a model."""

    def on(_device: str) -> Detector:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        WithFallback(on).detect(EMPTY)
