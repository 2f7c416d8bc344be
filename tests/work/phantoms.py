"""Series made for tests, without patients, and what a worker needs to find them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from gatekeeper.assemble.content import content_digest
from gatekeeper.settings import Settings
from gatekeeper.work.messages import ReceivedFile
from gatekeeper.work.series import ReceivedSeries, read_study
from models.registry import Registry
from storage import instances, jobs, nodes
from storage.engine import Database
from storage.records import Instance, Job, Node
from storage.spool import Digest, Spool

ROOT = "1.2.826.0.1.3680043.8.498.7"
STUDY = f"{ROOT}.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def series(
    count: int = 6,
    *,
    modality: str = "MR",
    description: str = "t1_mprage_sag",
    number: int = 1,
    study: str = STUDY,
    step: tuple[float, float, float] = (0.0, 0.0, 2.0),
    orientation: Sequence[float] = AXIAL,
    shape: tuple[int, int] = (16, 12),
    **attributes: Any,
) -> list[Dataset]:
    """Return a series of single-frame images; image k holds values of k * 100 and up."""
    return [
        image(
            index,
            modality=modality,
            description=description,
            number=number,
            study=study,
            position=tuple(index * part for part in step),
            orientation=orientation,
            shape=shape,
            **attributes,
        )
        for index in range(count)
    ]


def image(
    index: int,
    *,
    modality: str = "MR",
    description: str = "t1_mprage_sag",
    number: int = 1,
    study: str = STUDY,
    position: Sequence[float] = (0.0, 0.0, 0.0),
    orientation: Sequence[float] = AXIAL,
    shape: tuple[int, int] = (16, 12),
    **attributes: Any,
) -> Dataset:
    """Return one image; further attributes by keyword, None to leave one out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    dataset.SOPInstanceUID = f"{study}.{number}.{index + 1}"
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = f"{study}.{number}"
    dataset.SeriesNumber = number
    dataset.Modality = modality
    dataset.SeriesDescription = description
    dataset.PatientID = "TEST"
    dataset.PatientName = "Doe^Jane"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyDate, dataset.StudyTime = "20240101", "120000"
    dataset.StudyID = dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.FrameOfReferenceUID = f"{study}.9"
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = list(position)
    dataset.ImageOrientationPatient = list(orientation)
    dataset.PixelSpacing = [1.5, 1.0]
    dataset.SliceThickness = 2.0
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = values(index, shape).astype("<u2").tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def values(index: int, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return the stored values of image `index`."""
    return 100 * index + np.arange(shape[0] * shape[1]).reshape(shape) % 97


def encoded(dataset: Dataset) -> bytes:
    """Return a data set as the bytes of a DICOM file."""
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def stored(content: bytes, folder: Path, **known: str) -> ReceivedFile:
    """Write a file's content as a listener would have and return its record.

    `known` gives what the listener recorded when the content itself cannot be read.
    """
    digest = Digest.of(content)
    path = folder / digest
    path.write_bytes(content)
    fields = {
        "sop_instance_uid": "SOPInstanceUID",
        "sop_class_uid": "SOPClassUID",
        "series_instance_uid": "SeriesInstanceUID",
    }
    if not known:
        header = dcmread(io.BytesIO(content), stop_before_pixels=True)
        known = {name: str(header.get(keyword)) for name, keyword in fields.items()}
        known["transfer_syntax_uid"] = str(header.file_meta.TransferSyntaxUID)
    return ReceivedFile(**known, digest=digest, path=str(path))


def read(datasets: Iterable[Dataset | bytes | Path], folder: Path) -> tuple[ReceivedSeries, ...]:
    """Return data sets, contents or files as the worker's child reads them."""
    return read_study([stored(_content(item), folder) for item in datasets], folder)


def _content(item: Dataset | bytes | Path) -> bytes:
    if isinstance(item, Dataset):
        return encoded(item)
    return item.read_bytes() if isinstance(item, Path) else item


class Ward:
    """A database and a spool with studies in them, and settings for a worker on both."""

    def __init__(self, folder: Path, url: str, **work: Any) -> None:
        self.spool = Spool(folder / "spool")
        self.database = Database.connect(url)
        base = Settings()
        defaults: dict[str, Any] = {
            "poll_seconds": 0.05,
            "retry_seconds": 0.0,
            "retry_maximum_seconds": 0.0,
            "memory_mib": 4096,
            "device": "cpu",
            "threads": 1,
        }
        self.settings = replace(
            base,
            database=replace(base.database, url=url),
            spool=replace(base.spool, directory=str(folder / "spool")),
            models=replace(base.models, without_calibration="reference"),
            work=replace(base.work, **(defaults | work)),
        )

    def shorten(self, **work: Any) -> None:
        """Change settings for workers made from now on."""
        self.settings = replace(self.settings, work=replace(self.settings.work, **work))

    def receive(self, datasets: Iterable[Dataset | bytes | Path], **known: str) -> str:
        """Record instances as a listener would and return their study's UID."""
        study = ""
        for item in datasets:
            content = _content(item)
            kept = self.spool.store(content)
            header = dcmread(io.BytesIO(content), stop_before_pixels=True, force=True)
            study = known.get("study_instance_uid", str(header.get("StudyInstanceUID", "")))
            instance = Instance(
                sop_instance_uid=str(header.SOPInstanceUID),
                sop_class_uid=str(header.SOPClassUID),
                transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
                study_instance_uid=study,
                series_instance_uid=str(header.SeriesInstanceUID),
                modality=str(header.get("Modality", "")),
                digest=kept.digest,
                size=kept.size,
                source_ae="SCANNER",
            )
            with self.database.begin() as tx:
                instances.record(tx, instance, None)
        return study

    def queue(self, study: str, models: str | None = None, revision: int = 1) -> int:
        """Make the job of a study's present content."""
        with self.database.begin() as tx:
            content = content_digest(instances.of_study(tx, study))
            made = jobs.enqueue(tx, study, content, models or Registry().digest, revision)
        assert made is not None
        return made

    def study(self, datasets: Iterable[Dataset | bytes | Path]) -> int:
        """Receive a study and queue its job."""
        return self.queue(self.receive(datasets))

    def job(self, id: int) -> Job:
        with self.database.read() as tx:
            found = jobs.get(tx, id)
        assert found is not None
        return found

    def add_node(self, ae_title: str, **fields: Any) -> None:
        with self.database.begin() as tx:
            nodes.save(tx, Node(ae_title, "127.0.0.1", 104, **fields))
