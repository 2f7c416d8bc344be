"""A running listener, a scripted sender, and data sets made by hand, for the tests beside it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import threading
import uuid
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dsutils import split_dataset
from pynetdicom.pdu_primitives import A_ASSOCIATE
from support.files import written_files
from support.waiting import until

from gatekeeper.listen.described import described
from gatekeeper.listen.file_meta import part10_header
from gatekeeper.listen.server import Listener
from gatekeeper.settings import Settings
from storage import instances, nodes
from storage.engine import Database
from storage.records import Instance, Node
from storage.spool import Spool
from storage.voucher import Voucher

OWN_AE = "GATEKEEPER"
SCANNER = "SCANNER"
MR = "1.2.840.10008.5.1.4.1.1.4"
CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

SECONDS = 30.0

DCMTK_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
"""Without it, Nagle's algorithm and delayed acknowledgement cost DCMTK 44 ms an image."""

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For tests of the wire, which no database changes."""


@dataclass(frozen=True)
class Listening:
    """A listener that runs in this process."""

    listener: Listener
    settings: Settings
    database: Database
    spool: Spool

    @property
    def port(self) -> int:
        return self.listener.port

    def kept(self, sop_instance_uid: str) -> list[Instance]:
        with self.database.read() as tx:
            return instances.find(tx, sop_instance_uid)

    def unfinished(self) -> list[Path]:
        """Return the files of the spool that hold bytes of an object that was not kept."""
        return [path for path in written_files(self.spool.root) if "objects" not in path.parts]

    def count(self) -> int:
        with self.database.read() as tx:
            return instances.count(tx)

    def one(self, sop_instance_uid: str) -> Instance:
        """Return the only row of a UID; it may be written shortly after the answer."""
        rows = until(lambda: self.kept(sop_instance_uid), SECONDS, "the instance is entered")
        [instance] = rows
        return instance

    def file(self, sop_instance_uid: str) -> bytes:
        """Return the bytes of the only content kept under a UID."""
        return self.spool.path(self.one(sop_instance_uid).digest).read_bytes()

    def read_back(self, sop_instance_uid: str) -> Instance:
        """Return what recovery would record of the file that is kept under a UID."""
        row = self.one(sop_instance_uid)
        return described(self.spool.path(row.digest), Voucher(row.digest, row.source_ae))

    def data_set(self, sop_instance_uid: str) -> bytes:
        """Return the encoded data set kept under a UID, as it was sent."""
        return data_set_of(self.spool.path(self.one(sop_instance_uid).digest))


def settings_for(folder: Path, **listen: Any) -> Settings:
    """Return settings of a listener on a free port of this machine."""
    plain = Settings()
    chosen: dict[str, Any] = {"port": 0, "host": "127.0.0.1", "stop_seconds": 0.0, **listen}
    return dataclasses.replace(
        plain,
        listen=dataclasses.replace(plain.listen, **chosen),
        spool=dataclasses.replace(plain.spool, directory=str(folder), low_water_mib=1),
    )


@contextmanager
def running(settings: Settings, database: Database) -> Generator[Listening]:
    """Run a listener that knows one scanner on this machine."""
    with database.begin() as tx:
        nodes.save(tx, Node(SCANNER, "127.0.0.1", 0, may_send=True))
    spool = Spool(Path(settings.spool.directory))
    listener = Listener(settings, database, spool)
    listener.start()
    try:
        yield Listening(listener, settings, database, spool)
    finally:
        listener.stop()


@contextmanager
def associated(
    port: int,
    contexts: Iterable[tuple[str, Sequence[str]]] = ((MR, (EXPLICIT,)),),
    *,
    calling: str = SCANNER,
    called: str = OWN_AE,
) -> Generator[Association]:
    """Open an association, established or not, and end it."""
    scanner = AE(calling)
    scanner.acse_timeout = scanner.dimse_timeout = scanner.network_timeout = 20
    proposed = [build_context(uid, list(syntaxes)) for uid, syntaxes in contexts]
    association = scanner.associate("127.0.0.1", port, ae_title=called, contexts=proposed)
    connection = association.dul.socket
    plain = connection.socket if connection is not None else None
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if association.is_alive():
            association.join(20)
        if plain is not None:
            # pynetdicom leaves it open when the other side closed first.
            plain.close()


def rejection(association: Association) -> tuple[int | None, int | None, int | None]:
    """Return result, source and reason of the A-ASSOCIATE-RJ that ended `association`."""
    answer = cast(Any, association.acceptor.primitive)
    if answer is None:
        # pynetdicom takes a rejection that comes at once for a connection that failed, and leaves
        # it in this queue.
        answer = cast(Any, association.dul.to_user_queue.get(timeout=20))
    assert isinstance(answer, A_ASSOCIATE)
    assert answer.result != 0
    return answer.result, answer.result_source, answer.diagnostic


def store(association: Association, path: Path) -> Dataset:
    """Send a file's data set byte by byte and return the answer.

    Needs the fixture `raw_sending`. Affected SOP Class and Instance are those of the file meta.
    """
    return association.send_c_store(path)


def image(
    instance: str,
    *,
    study: str = "1.2.3",
    series: str = "1.2.3.4",
    sop_class: str = MR,
    modality: str = "MR",
    **more: Any,
) -> Dataset:
    """Return a small data set with the identifiers given."""
    dataset = Dataset()
    dataset.SOPClassUID = UID(sop_class)
    dataset.SOPInstanceUID = UID(instance)
    dataset.Modality = modality
    dataset.PatientName = "CANARY^PATIENT"
    dataset.PatientID = "CANARY-ID"
    dataset.StudyInstanceUID = UID(study)
    dataset.SeriesInstanceUID = UID(series)
    dataset.PixelData = b"\x00\x01" * 32
    dataset["PixelData"].VR = "OW"
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def encoded(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    """Return the data set's bytes in one of the three plain encodings."""
    stream = DicomBytesIO()
    stream.is_implicit_VR = syntax == IMPLICIT
    stream.is_little_endian = syntax != BIG_ENDIAN
    write_dataset(stream, dataset)
    return stream.getvalue()


def written(
    path: Path,
    data: bytes,
    instance: str,
    *,
    sop_class: str = MR,
    syntax: str = EXPLICIT,
) -> Path:
    """Write a Part 10 file whose meta says what it is told, and return its path."""
    path.write_bytes(part10_header(sop_class, instance, syntax) + data)
    return path


def image_file(folder: Path, instance: str, **more: Any) -> Path:
    """Write `image` to a file of its own."""
    folder.mkdir(exist_ok=True)
    sop_class = more.get("sop_class", MR)
    return written(
        folder / f"{uuid.uuid4()}.dcm",
        encoded(image(instance, **more)),
        instance,
        sop_class=sop_class,
    )


def data_set_of(path: Path) -> bytes:
    """Return the encoded data set behind a file's meta information."""
    _meta, offset = split_dataset(path)
    return path.read_bytes()[offset:]


def dcmtk(program: str, *arguments: object, code: int = 0) -> str:
    """Run a DCMTK program, expect its exit code, and return what it said."""
    run = subprocess.run(
        [program, *map(str, arguments)],
        env=DCMTK_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = run.stdout + run.stderr
    assert run.returncode == code, said
    return said


def together(*works: Any) -> None:
    """Run the functions at once, each in a thread, and raise what one of them raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Any) -> None:
        try:
            start.wait(20)
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]
