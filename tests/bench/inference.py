"""What an answer costs: milliseconds a slice, stage by stage, and peak memory, for every bundle.

Each bundle judges the same scan in a process of its own, the bundles taking turns. For bundles of
the two-stage detector, its scoring is set beside the published procedure on the same networks (100
independent masks, one slice a pass), with the rank correlation of the slices' scores. The scan is
the MNI152 T1 template, brought to the wanted number of slices.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy import stats
from torch import Tensor

from gatekeeper.demo import sample
from models import artefacts
from models.artefacts import Kind, Strength
from models.detector import load
from models.errors import NotAssessable
from models.grid import interpolate
from models.prepare import Prepared, normalised
from models.registry import BundleInfo, Registry, read_bundle
from models.tensors import read_tensors
from models.volume import Volume

WARM_UP = 1
FAULTS = (
    (Kind.MOTION, Strength.STRONG),
    (Kind.NOISE, Strength.STRONG),
    (Kind.GHOSTING, Strength.STRONG),
)


def main() -> None:
    """Read the arguments, measure, and print tables."""
    parser = argparse.ArgumentParser(prog="gatekeeper bench inference", description=__doc__)
    parser.add_argument("--bundles", type=Path, help="folder of bundles beside the shipped ones")
    parser.add_argument("--only", action="append", default=[], help="name of a bundle; repeatable")
    parser.add_argument("--slices", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--published-slices", type=int, default=24, help="0 leaves it out")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = Registry([arguments.bundles] if arguments.bundles else []).bundles()
    chosen = [one for one in found if not arguments.only or one.name in arguments.only]
    runs: dict[str, list[dict[str, float]]] = {one.name: [] for one in chosen}
    for _ in range(arguments.repeats):
        for one in chosen:
            runs[one.name].append(
                _apart(_measure, one.path, arguments.slices, arguments.threads, arguments.device)
            )
    whole = {name: _medians(own) for name, own in runs.items()}
    two_stage = {
        one.name: _apart(
            _two_stage,
            one.path,
            arguments.published_slices,
            arguments.repeats,
            arguments.threads,
            arguments.device,
        )
        for one in chosen
        if arguments.published_slices
        and any(member["detector"] == "two-stage" for member in one.manifest["members"])
    }
    if arguments.json:
        print(json.dumps({"bundles": whole, "two_stage": two_stage}, indent=2))  # noqa: T201
        return
    _print(whole, two_stage, arguments)


def _apart(function: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """Return what `function` returns in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(function, arguments)


def scan(slices: int) -> Volume:
    """Return the template with so many axial slices."""
    template = sample.template()
    count = template.array.shape[0]
    at = (np.arange(slices) + 0.5) * count / slices - 0.5
    step = np.diag([count / slices, 1.0, 1.0, 1.0])
    array = interpolate(template.array, 0, np.clip(at, 0, count - 1))
    return replace(template, array=array, affine=template.affine @ step)


def _measure(path: Path, slices: int, threads: int, device: str) -> dict[str, float]:
    """Return milliseconds of each step of the second answer, and the peak memory in MiB."""
    torch.set_num_threads(threads)
    volume = scan(slices)
    before = time.perf_counter()
    detector = load(read_bundle(path), device)
    loading = (time.perf_counter() - before) * 1000
    for _ in range(WARM_UP):
        detector.detect(volume)
    before = time.perf_counter()
    finding = detector.detect(volume)
    total = (time.perf_counter() - before) * 1000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "total": total,
        "per slice": total / slices,
        "load": loading,
        **finding.milliseconds,
        "peak MiB": peak,
    }


def _two_stage(
    path: Path, published_slices: int, repeats: int, threads: int, device: str
) -> dict[str, float]:
    """Return the cost of both ways of scoring, a slice, and how far they agree."""
    from models.detectors import two_stage
    from models.detectors.two_stage_scoring import surprisal_partition, surprisal_published

    torch.set_num_threads(threads)
    info: BundleInfo = read_bundle(path)
    detector = load(info, device)
    index = next(
        i for i, one in enumerate(info.manifest["members"]) if one["detector"] == "two-stage"
    )
    member = detector.members[index]
    config: Any = member.grid
    file = f"{member.name}.safetensors"
    tensors = read_tensors(path / file, str(info.manifest["weights"][file]))
    tokenizer, transformer = two_stage.networks(tensors, config, device)
    tokens: list[Tensor] = []
    inside: list[Tensor] = []
    encoding: list[float] = []
    heights = torch.arange(config.levels, device=device)
    volume = scan(96)
    for faulty in (volume, *(artefacts.apply(volume, *fault, seed=1) for fault in FAULTS)):
        try:
            seen = normalised(detector.prepared(detector.located(faulty), index), config)
        except NotAssessable:
            continue
        images = torch.from_numpy(seen.images)[:, None].to(device)
        with torch.inference_mode():
            began = time.perf_counter()
            tokens.append(tokenizer.tokens(tokenizer.features(images)))
            _wait(device)
            encoding.append(time.perf_counter() - began)
        inside.append(_covered(seen, config.patch))
    every = torch.cat(tokens)
    levels = torch.cat([heights] * len(tokens))
    brain = torch.cat(inside)
    step = max(1, len(every) // max(published_slices, 1))
    some = torch.arange(0, len(every), step)[:published_slices]
    partition_ms: list[float] = []
    published_ms: list[float] = []
    ours = theirs = torch.zeros(0)
    with torch.inference_mode():
        for _ in range(repeats):
            began = time.perf_counter()
            ours = surprisal_partition(transformer, every, levels, mask_rate=config.mask_rate)
            _wait(device)
            partition_ms.append((time.perf_counter() - began) * 1000 / len(every))
            began = time.perf_counter()
            theirs = surprisal_published(
                transformer, every[some], levels[some], mask_rate=config.mask_rate
            )
            _wait(device)
            published_ms.append((time.perf_counter() - began) * 1000 / len(some))
    weight = brain[some].float()
    score = [
        ((found.cpu() * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1)).numpy()
        for found in (ours[some], theirs)
    ]
    return {
        "slices compared": float(len(some)),
        "encode ms a slice": statistics.median(encoding) * 1000 / config.levels,
        "partition ms a slice": statistics.median(partition_ms),
        "published ms a slice": statistics.median(published_ms),
        "times faster": statistics.median(
            theirs_ms / ours_ms
            for theirs_ms, ours_ms in zip(published_ms, partition_ms, strict=True)
        ),
        "rank correlation": float(cast("Any", stats.spearmanr(score[0], score[1])).statistic),
        **_batches(transformer, every, levels, repeats, device),
    }


def _batches(
    transformer: Any, tokens: Tensor, levels: Tensor, repeats: int, device: str
) -> dict[str, float]:
    """Return milliseconds a slice of one pass of the transformer, by batch size."""
    result: dict[str, float] = {}
    for size in (1, 8, 32):
        times: list[float] = []
        with torch.inference_mode():
            for _ in range(repeats + 1):
                began = time.perf_counter()
                transformer.logits(tokens[:size], 0, levels[:size])
                _wait(device)
                times.append((time.perf_counter() - began) * 1000 / len(tokens[:size]))
        result[f"one pass, batch {size}, ms a slice"] = statistics.median(times[1:])
    return result


def _covered(seen: Prepared, patch: int) -> Tensor:
    inside = torch.from_numpy(seen.brain.astype(np.float32))[:, None]
    return torch.nn.functional.avg_pool2d(inside, patch)[:, 0] > 0.5


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run.get(name, 0.0) for run in runs) for name in runs[0]}


def _print(
    whole: Mapping[str, Mapping[str, float]],
    two_stage: Mapping[str, Mapping[str, float]],
    arguments: argparse.Namespace,
) -> None:
    console = Console()
    table = Table(
        title=f"{arguments.slices} slices on {arguments.device}, {arguments.threads} threads, "
        f"medians of {arguments.repeats}",
        title_justify="left",
    )
    for heading in ("bundle", "total s", "ms a slice", "load s", "peak MiB", "steps, ms"):
        table.add_column(heading)
    for name, values in whole.items():
        known = {"total", "per slice", "load", "peak MiB"}
        steps = ", ".join(f"{key} {value:.0f}" for key, value in values.items() if key not in known)
        table.add_row(
            name,
            f"{values['total'] / 1000:.2f}",
            f"{values['per slice']:.1f}",
            f"{values['load'] / 1000:.2f}",
            f"{values['peak MiB']:.0f}",
            steps,
        )
    console.print(table)
    for name, values in two_stage.items():
        table = Table(title=f"{name}: scoring beside the published procedure", title_justify="left")
        table.add_column("measure")
        table.add_column("median")
        for key, value in values.items():
            table.add_row(key, f"{value:.3g}")
        console.print(table)


if __name__ == "__main__":
    main()
