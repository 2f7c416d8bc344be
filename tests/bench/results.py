"""What results cost: milliseconds, bytes and memory of each kind, and of the usual kinds together.

The scan is the MNI152 T1 template with a dark sphere put in, brought to the wanted number of
slices, sent through the worker's own reading and judged by a shipped bundle. Each measurement is a
fresh process that is given that answer and composes twice, every object turned into the bytes of
its file as in the worker (writing them to disk is left out). `first` is a process's first answer,
which loads highdicom's table of the standard's attributes; the other columns are its second, as in
the worker's child, which lives on from job to job. Memory is what the process's peak rises by
meanwhile. Kinds take turns, and all is repeated.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import pickle
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.common import to_bytes
from gatekeeper.results.kinds import KINDS, USUAL
from gatekeeper.work import limits
from gatekeeper.work.compose import compose
from gatekeeper.work.stages import Stages
from models.volume import Volume

COMPOSED: dict[str, tuple[str, ...]] = {**{kind: (kind,) for kind in KINDS}, "usual": USUAL}
"""What is measured -> the kinds of result composed together."""
SPHERE_CENTRE = (0.53, 0.45, 0.33)
"""As shares of slices, rows and columns."""
SPHERE_RADIUS_MM = 14.0
CREATED_AT = 1_760_000_000.0


def main() -> None:
    """Read the arguments, measure, and print a table."""
    parser = argparse.ArgumentParser(prog="gatekeeper bench results", description=__doc__)
    parser.add_argument("--slices", type=int, default=160)
    parser.add_argument("--bundle", default="mr-brain-t1", help="the shipped bundle that judges")
    parser.add_argument("--compression", choices=("none", "rle", "jpeg2000"), default="none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gatekeeper-bench-") as folder:
        answer = Path(folder) / "answer.pickle"
        regions = _apart(_judge, answer, arguments.slices, arguments.bundle)["regions"]
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in COMPOSED}
        for _ in range(arguments.repeats):
            for name, wanted in COMPOSED.items():
                runs[name].append(_apart(_measure, answer, wanted, arguments.compression))
    medians = {
        name: {key: statistics.median(run[key] for run in own) for key in own[0]}
        for name, own in runs.items()
    }
    if arguments.json:
        print(json.dumps({"regions": regions, "runs": runs, "medians": medians}, indent=2))  # noqa: T201
        return
    table = Table(
        title=f"{arguments.slices} slices, {regions:.0f} regions, {arguments.bundle}, compression "
        f"{arguments.compression}, medians of {arguments.repeats}",
        title_justify="left",
    )
    table.add_column("kind")
    headings = ("objects", "bytes", "ms", "MiB", "first ms", "first MiB")
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, values in medians.items():
        table.add_row(name, *(f"{values[heading]:,.0f}" for heading in headings))
    Console().print(table)


def _apart(function: object, *arguments: object) -> dict[str, float]:
    """Return what `function` returns in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)  # type: ignore[arg-type]


def _judge(answer: Path, slices: int, bundle: str) -> dict[str, float]:
    """Write the assessment of the scan by a bundle to `answer`."""
    # Imported here: the processes that compose do without torch, and start quicker.
    from bench.inference import scan
    from work.phantoms import stored

    from gatekeeper.demo import sample
    from gatekeeper.work.assess import assess_study
    from gatekeeper.work.messages import Request
    from models.detector import load
    from models.registry import SHIPPED_BUNDLES, Registry, read_bundle

    folder = answer.parent
    study = sample.write_study(
        _with_sphere(scan(slices)),
        folder / "scan",
        title="bench",
        statement="The MNI152 T1 template with a dark sphere put in.",
    )
    (folder / "spool").mkdir()
    detector = load(read_bundle(SHIPPED_BUNDLES / bundle))
    registry = Registry()
    request = Request(
        job=1,
        attempt=1,
        study_instance_uid=study.study_instance_uid,
        content_digest="0" * 64,
        model_digest=registry.digest,
        revision=1,
        created_at=CREATED_AT,
        files=tuple(
            stored(path.read_bytes(), folder / "spool")
            for path in sorted((folder / "scan").iterdir())
        ),
        scratch=str(folder),
        bundles=(),
        device="cpu",
        threads=0,
        maximum_voxels=1 << 30,
        maximum_series=1,
        cpu_seconds=3600,
        false_hold_rate=0.05,
        ae_title="GATEKEEPER",
        institution="",
        series_number=9100,
    )
    assessment = assess_study(request, registry, lambda _: detector, Stages())
    finding = assessment.series[0].finding
    if finding is None:
        raise RuntimeError(assessment.judgement.reason)
    source = assessment.series[0].source
    for header in (*source.headers, *(part.header for part in source.slices)):
        header.buffer = None  # The file it was read from, closed by now, which cannot be sent on.
    answer.write_bytes(pickle.dumps(assessment))
    return {"regions": float(len(finding.regions))}


def _with_sphere(volume: Volume) -> Volume:
    """Return the volume with a dark sphere in the white matter of the right."""
    axes = [
        (np.arange(size) - share * size) * step
        for size, share, step in zip(volume.array.shape, SPHERE_CENTRE, volume.spacing, strict=True)
    ]
    distance = sum(part**2 for part in np.meshgrid(*axes, indexing="ij", sparse=True)) ** 0.5
    inside = distance < SPHERE_RADIUS_MM
    return replace(volume, array=np.where(inside, np.float32(0.1) * volume.array, volume.array))


def _measure(answer: Path, wanted: tuple[str, ...], compression: str) -> dict[str, float]:
    """Return what composing the wanted kinds of one answer costs, the first and the second time."""
    study: StudyAssessment = pickle.loads(answer.read_bytes())  # noqa: S301 - written by `_judge`
    first = _composed(study, wanted, compression)
    second = _composed(study, wanted, compression)
    return {**second, "first ms": first["ms"], "first MiB": first["MiB"]}


def _composed(
    study: StudyAssessment, wanted: tuple[str, ...], compression: str
) -> dict[str, float]:
    """Return objects, milliseconds, bytes, and MiB that the peak of resident memory rises by."""
    limits.forget_peak()
    before = limits.peak_mib()
    began = time.perf_counter()
    sizes = [len(to_bytes(made)) for _, made in compose(study, wanted, compression, Stages())]
    return {
        "objects": float(len(sizes)),
        "ms": (time.perf_counter() - began) * 1000,
        "bytes": float(sum(sizes)),
        "MiB": float(limits.peak_mib() - before),
    }


if __name__ == "__main__":
    main()
