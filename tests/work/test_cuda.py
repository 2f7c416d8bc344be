"""What a real accelerator answers, and what becomes of a scan for which it has no memory."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch

from gatekeeper.demo import sample
from gatekeeper.work.child import WithFallback
from models.detector import load
from models.finding import Finding
from models.registry import BundleInfo, Registry
from models.volume import Volume

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

FILL = """
import sys, torch
torch.zeros(1, device="cuda")
held = []
while (room := torch.cuda.mem_get_info()[0] - (int(sys.argv[1]) << 20)) > 8 << 20:
    held.append(torch.empty(min(room, 1 << 33), dtype=torch.uint8, device="cuda"))
print("full", flush=True)
sys.stdin.read()
"""


def bundle(name: str) -> BundleInfo:
    return next(one for one in Registry().bundles() if one.name == name)


def scan() -> Volume:
    """Return a brain with something in it that does not belong there."""
    template = sample.template()
    array = template.array.copy()
    array[70:78, 90:110, 60:80] = 0.0
    return Volume(array, template.affine, "MR", "BRAIN", "T1")


def judged(name: str, device: str) -> tuple[float, float, list[float]]:
    """Return score, p-value and the regions' volumes; ``fallback`` is what a worker does."""
    torch.set_num_threads(2)
    info = bundle(name)
    detector = WithFallback(partial(load, info)) if device == "fallback" else load(info, device)
    return facts(detector.detect(scan()))


def facts(finding: Finding) -> tuple[float, float, list[float]]:
    return finding.score, finding.p_value, [one.volume_mm3 for one in finding.regions]


@contextmanager
def filled(free_mib: int) -> Generator[None]:
    """Have another process hold all of the accelerator's memory but so much."""
    command = [sys.executable, "-c", FILL, str(free_mib)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"full\n"
        yield
        other.stdin.close()


@pytest.mark.parametrize("name", [one.name for one in Registry().bundles()])
def test_the_accelerator_and_the_processor_agree(name: str) -> None:
    """Score, p-value and regions, within what float32 sums in another order may differ by."""
    score, p_value, regions = judged(name, "cuda")
    other_score, other_p_value, other_regions = judged(name, "cpu")

    assert score == pytest.approx(other_score, rel=1e-2)
    assert p_value == pytest.approx(other_p_value, rel=1e-2)
    assert np.allclose(regions, other_regions, rtol=0.02, atol=50)


@pytest.mark.parametrize("free_mib", [20, 500, 600, 700, 800, 900])
def test_an_accelerator_that_others_have_filled_leaves_the_scan_to_the_processor(
    free_mib: int,
) -> None:
    """However far it comes: no context, no library, no room for the data."""
    score, p_value, _ = judged("mr-brain-t1", "cpu")

    with filled(free_mib), multiprocessing.get_context("spawn").Pool(1) as fresh:
        found = fresh.apply(judged, ("mr-brain-t1", "fallback"))

    assert found[0] == pytest.approx(score, rel=1e-2)
    assert found[1] == pytest.approx(p_value, rel=1e-2)
