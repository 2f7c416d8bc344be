"""The study to look at: the MNI152 template with a dark sphere, and the product's results on it.

The source lies in the archive as a scanner would have left it. The results are what
`gatekeeper demo` makes of it and sends there over DICOM.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from support.orthanc import Orthanc, running_orthanc

from gatekeeper.demo import sample

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
"""Where Debian's orthanc-dicomweb puts it."""

ROWS, COLUMNS = 232, 192
"""Cut from 233 x 197, because OHIF misreads a segmentation whose frames do not fill whole bytes."""
SPHERE_RADIUS_MM = 14.0
SPHERE_CENTRE = (100, 105, 65)
"""In the template's slices, rows and columns, each of 1 mm: in the white matter, on the right."""
_DARK = 0.1
_SLICE_STEP = 4
_SECONDS = 170
_OBJECTS = "report,montage,heatmap,segmentation,presentation,key-objects"


@dataclass(frozen=True)
class ViewedStudy:
    """A study in the archive, source and results.

    Attributes:
        uid: its Study Instance UID.
        slices: images of the source series.
        series: series in all, the source's among them.
        verdict: the product's verdict on it.
        sphere_mm: where the sphere's centre is, toward the patient's head, in the frame of
            reference.
        segmented: for the height of each frame of the product's segmentation, in mm toward the
            head, the places of its voxels in the frame; empty where the product made none.
    """

    uid: str
    slices: int
    series: int
    verdict: str
    sphere_mm: float
    segmented: Mapping[float, Sequence[int]]


@contextmanager
def archive_with_study(program: str, folder: Path) -> Generator[tuple[Orthanc, ViewedStudy]]:
    """Run an Orthanc with DICOMweb that holds the study, until the end of the block.

    Args:
        program: path of Orthanc.
        folder: for the source and what the demo leaves.
    """
    options: dict[str, Any] = {
        "Plugins": [str(DICOMWEB_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    with running_orthanc(program, **options) as archive:
        source, sphere_mm = _write_source(folder / "source")
        for path in sorted(source.folder.iterdir()):
            archive.upload(path)
        verdict = _deliver(source.folder, archive, folder)
        yield (
            archive,
            ViewedStudy(
                uid=str(source.study_instance_uid),
                slices=source.instances,
                series=len(archive.get_json("/series")),
                verdict=verdict,
                sphere_mm=sphere_mm,
                segmented=dict(_segmented(archive)),
            ),
        )


def _write_source(folder: Path) -> tuple[sample.SampleStudy, float]:
    template = sample.template()
    template = replace(template, array=template.array[:, :ROWS, :COLUMNS])
    places = np.ogrid[tuple(slice(0, size) for size in template.array.shape)]
    away = sum((place - centre) ** 2 for place, centre in zip(places, SPHERE_CENTRE, strict=True))
    array = np.where(away < SPHERE_RADIUS_MM**2, np.float32(_DARK), template.array)
    study = sample.write_study(
        replace(template, array=array),
        folder,
        title="with-sphere",
        statement=f"The MNI152 T1 template with a dark sphere of {SPHERE_RADIUS_MM:.0f} mm put in.",
        every=_SLICE_STEP,
    )
    return study, template.to_patient(SPHERE_CENTRE)[2]


def _segmented(archive: Orthanc) -> Iterator[tuple[float, list[int]]]:
    """Yield the frames of the Segmentation that the archive holds: height, places of voxels."""
    query = {"Level": "Instance", "Query": {"Modality": "SEG"}}
    for instance in json.loads(archive.post("/tools/find", query)):
        dataset = dcmread(io.BytesIO(archive.get(f"/instances/{instance}/file")))
        frames = dataset.pixel_array.reshape(-1, dataset.Rows * dataset.Columns)
        for frame, group in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
            position = group.PlanePositionSequence[0].ImagePositionPatient
            yield float(position[2]), np.flatnonzero(frame).tolist()


def _deliver(source: Path, archive: Orthanc, folder: Path) -> str:
    """Have the product analyse the source and send its results; return the verdict."""
    pacs = f"{archive.aet}@127.0.0.1:{archive.port}"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "gatekeeper", "demo", "--study", str(source)),
            *("--pacs", pacs, "--objects", _OBJECTS),
        ],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if not key.startswith("GATEKEEPER_")},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    answer = json.loads((folder / "demo-out" / "demo.json").read_text())["studies"][0]
    return str(answer["verdict"])
