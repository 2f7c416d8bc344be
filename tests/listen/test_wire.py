"""The listener on the wire, against DCMTK and a scripted sender."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import data_store
import pydicom
import pytest
from listen.wire import (
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    MR,
    OWN_AE,
    SCANNER,
    VERIFICATION,
    Listening,
    associated,
    data_set_of,
    dcmtk,
    encoded,
    image,
    image_file,
    rejection,
    running,
    settings_for,
    sqlite_only,
    store,
    together,
    written,
)
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from support.gate import listening as accepts
from support.waiting import until

from gatekeeper.listen.contexts import storage_classes, transfer_syntaxes
from storage import nodes, studies
from storage.engine import Database
from storage.records import Node

Peer = Callable[[str], str]

CALLING_AE_NOT_RECOGNISED = (1, 1, 3)
CALLED_AE_NOT_RECOGNISED = (1, 1, 7)
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
TEMPORARY_CONGESTION = (2, 3, 1)


@sqlite_only
def test_echo_is_answered_to_known_nodes_only(listening: Listening, peer: Peer) -> None:
    """C-ECHO proves the AE titles too: it is refused to everyone else."""
    echo = peer("echoscu")
    address = ("127.0.0.1", listening.port)

    dcmtk(echo, "-aet", SCANNER, "-aec", OWN_AE, *address)
    stranger = dcmtk(echo, "-aet", "STRANGER", "-aec", OWN_AE, *address, code=1)
    mistaken = dcmtk(echo, "-aet", SCANNER, "-aec", "ANY-SCP", *address, code=1)

    assert "Calling AE Title Not Recognized" in stranger
    assert "Called AE Title Not Recognized" in mistaken


@sqlite_only
def test_refusals_carry_the_standard_reasons(listening: Listening) -> None:
    """PS3.8 Table 9-21; an unknown address looks like an unknown AE title."""
    with listening.database.begin() as tx:
        nodes.save(tx, Node("ELSEWHERE", "192.0.2.1", 0, may_send=True))
        nodes.save(tx, Node("PACS", "127.0.0.1", 104, receives_results=True))

    for calling in ("STRANGER", "ELSEWHERE", "PACS"):
        with associated(listening.port, calling=calling) as association:
            assert rejection(association) == CALLING_AE_NOT_RECOGNISED
    with associated(listening.port, called="OTHER") as association:
        assert rejection(association) == CALLED_AE_NOT_RECOGNISED


def test_nodes_are_read_at_every_association(listening: Listening) -> None:
    """An administrator's change needs no restart."""

    def welcome() -> bool:
        with associated(listening.port, calling="NEW") as association:
            return association.is_established

    assert not welcome()
    node = Node("NEW", "localhost", 0, may_send=True)
    for changed, expected in (
        (node, True),
        (replace(node, enabled=False), False),
        (replace(node, networks=("127.0.0.0/8",)), True),
        (replace(node, networks=("10.0.0.0/8",)), False),
    ):
        with listening.database.begin() as tx:
            nodes.save(tx, changed)
        assert welcome() is expected


@sqlite_only
def test_too_many_associations_are_turned_away(tmp_path: Path, database: Database) -> None:
    """Local limit exceeded, and welcome again once one has ended."""
    with running(settings_for(tmp_path / "spool", maximum_associations=1), database) as listening:
        with associated(listening.port) as first:
            assert first.is_established
            with associated(listening.port) as second:
                assert rejection(second) == LOCAL_LIMIT_EXCEEDED

        def welcome() -> bool:
            with associated(listening.port) as third:
                return third.is_established

        until(welcome, 10, "there is room again")


@sqlite_only
def test_without_a_database_nobody_is_let_in(tmp_path: Path, database: Database) -> None:
    """Unable to judge, the listener refuses for now, rather than accept or hang."""
    with running(settings_for(tmp_path / "spool"), database) as listening:
        with database.begin() as tx:
            tx.exec_driver_sql("ALTER TABLE node RENAME TO gone")
        with associated(listening.port) as association:
            assert rejection(association) == TEMPORARY_CONGESTION
        with database.begin() as tx:
            tx.exec_driver_sql("ALTER TABLE gone RENAME TO node")
        with associated(listening.port) as association:
            assert association.is_established


@pytest.mark.usefixtures("raw_sending")
@pytest.mark.filterwarnings("ignore")
@sqlite_only
def test_every_file_of_pydicom_is_kept_as_sent(tmp_path: Path, database: Database) -> None:
    """Byte by byte, in every transfer syntax there, or refused for what the scan refuses.

    And read back from its file, as recovery does, each is what was recorded of it.
    """
    settings = settings_for(tmp_path / "spool", accept_deflated=True)
    known, syntaxes = set(storage_classes()), set(transfer_syntaxes(accept_deflated=True))
    files: dict[str, Path] = {}
    for path in corpus():
        meta = read_file_meta_info(path)
        identifiers = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
        sop_class, instance, syntax = (str(meta.get(keyword, "")) for keyword in identifiers)
        if sop_class in known and instance and syntax in syntaxes and path.stat().st_size < 1 << 20:
            files[instance] = path
    kept: defaultdict[str, int] = defaultdict(int)
    with running(settings, database) as listening:
        for group in in_groups(files.values(), 100):
            with associated(listening.port, contexts_of(group)) as association:
                assert association.is_established
                for path in group:
                    meta = read_file_meta_info(path)
                    status = store(association, path).Status
                    if status != 0x0000:
                        assert status in {0xA900, 0xC000}, path
                        assert "is missing" in explain(path) or "differs" in explain(path), path
                        continue
                    assert listening.data_set(meta.MediaStorageSOPInstanceUID) == data_set_of(path)
                    again = listening.read_back(meta.MediaStorageSOPInstanceUID)
                    row = listening.one(meta.MediaStorageSOPInstanceUID)
                    assert again == replace(row, received_at=0.0)
                    kept[str(meta.TransferSyntaxUID)] += 1
    assert len(kept) >= 10
    assert sum(kept.values()) > 120


def corpus() -> list[Path]:
    """Return the Part 10 files that pydicom and pydicom-data carry."""
    folders = [Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent / "data"]
    return [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.open("rb").read(132)[128:] == b"DICM"
    ]


def in_groups(paths: Iterable[Path], size: int) -> list[list[Path]]:
    """Return the paths in groups that one association's 128 contexts can carry."""
    every = list(paths)
    return [every[start : start + size] for start in range(0, len(every), size)]


def contexts_of(paths: Iterable[Path]) -> list[tuple[str, list[str]]]:
    """Return one context for each SOP class and transfer syntax of the files."""
    metas = [read_file_meta_info(path) for path in paths]
    pairs = {(str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)) for meta in metas}
    return [(sop_class, [syntax]) for sop_class, syntax in sorted(pairs)]


def explain(path: Path) -> str:
    """Return why the scan refuses a file, or that it agrees with the file meta."""
    from gatekeeper.errors import RefusedInstance
    from gatekeeper.listen.headers import agree, identify

    meta = read_file_meta_info(path)
    try:
        identity = identify(data_set_of(path), str(meta.TransferSyntaxUID))
        agree(identity, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID)
    except RefusedInstance as refused:
        return refused.rule
    return "understood"


@pytest.mark.usefixtures("raw_sending")
@sqlite_only
def test_every_transfer_syntax_is_negotiated_and_kept(listening: Listening, tmp_path: Path) -> None:
    """Also those without test files: video, HTJ2K, JPEG XL; the bytes are not looked at."""
    syntaxes = [syntax for syntax in transfer_syntaxes() if syntax != "1.2.840.10008.1.2.2"]
    contexts = [(MR, [syntax]) for syntax in syntaxes]
    with associated(listening.port, contexts) as association:
        assert len(association.accepted_contexts) == len(syntaxes)
        for number, syntax in enumerate(syntaxes):
            data = encoded(image(f"1.2.3.{number}"), IMPLICIT if syntax == IMPLICIT else EXPLICIT)
            path = written(tmp_path / "one.dcm", data, f"1.2.3.{number}", syntax=syntax)
            assert store(association, path).Status == 0x0000
            assert listening.data_set(f"1.2.3.{number}") == data
            assert listening.one(f"1.2.3.{number}").transfer_syntax_uid == syntax


@sqlite_only
def test_deflated_is_not_negotiated_by_default(listening: Listening) -> None:
    """Its expansion has no bound."""
    with associated(listening.port, [(MR, [DEFLATED]), (VERIFICATION, [IMPLICIT])]) as association:
        assert association.is_established
        assert [context.abstract_syntax for context in association.accepted_contexts] == [
            VERIFICATION
        ]


@pytest.mark.usefixtures("raw_sending")
@sqlite_only
def test_private_and_unknown_classes(tmp_path: Path, database: Database) -> None:
    """Configured private classes and CSA Non-Image are kept; an unknown one is not negotiated."""
    configured, csa, unknown = "1.3.46.670589.11.0.0.12.1", "1.3.12.2.1107.5.9.1", "1.2.3.4.5.6"
    settings = settings_for(tmp_path / "spool", private_sop_classes=(configured,))
    contexts = [(uid, [EXPLICIT]) for uid in (configured, csa, unknown)]
    with (
        running(settings, database) as listening,
        associated(listening.port, contexts) as association,
    ):
        assert [str(context.abstract_syntax) for context in association.rejected_contexts] == [
            unknown
        ]
        for number, sop_class in enumerate((configured, csa)):
            path = image_file(tmp_path / "files", f"1.2.9.{number}", sop_class=sop_class)
            assert store(association, path).Status == 0x0000
            assert listening.one(f"1.2.9.{number}").sop_class_uid == sop_class


@sqlite_only
def test_dcmtk_sends_real_series_in_their_own_encodings(
    listening: Listening, peer: Peer, shared_data: Path
) -> None:
    """JPEG Lossless CT, JPEG 2000 CT, a series with a missing slice: all pixels as they were."""
    program = peer("dcmsend")
    names = (
        "chest_ct_covid_ct_md_dicom",
        "chest_ct_lidc0001_dicom",
        "pelvis_mr_prostatex_dicom",
    )
    files = [path for name in names for path in sorted((shared_data / name).rglob("*.dcm"))]

    dcmtk(
        program,
        *("-aet", SCANNER, "-aec", OWN_AE, "--decompress-never", "--no-uid-checks"),
        *("127.0.0.1", listening.port),
        *files,
    )

    assert listening.count() == len(files)
    for path in files[::7]:
        sent = dcmread(path)
        [row] = listening.kept(str(sent.SOPInstanceUID))
        kept = dcmread(listening.spool.path(row.digest))
        assert kept.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
        assert sha256(kept.PixelData).digest() == sha256(sent.PixelData).digest()
        assert (row.study_instance_uid, row.modality) == (sent.StudyInstanceUID, sent.Modality)


@pytest.mark.usefixtures("raw_sending")
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@sqlite_only
def test_malformed_uids_of_real_hospitals_are_carried(listening: Listening, tmp_path: Path) -> None:
    """UUIDs with letters and leading zeros: kept, in a study of their own."""
    instance, study = "3F2504E0-4F89-11D3-9A0C-0305E82C3301", "1.2.840.00113619.2"
    path = image_file(tmp_path / "files", instance, study=study, series="abc.def")

    with associated(listening.port) as association:
        assert store(association, path).Status == 0x0000

    assert listening.data_set(instance) == data_set_of(path)
    with listening.database.read() as tx:
        assert studies.get(tx, study) is not None


@pytest.mark.usefixtures("raw_sending")
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.filterwarnings("ignore:The value length")
@sqlite_only
def test_what_cannot_be_taken_is_refused_with_a_reason(
    listening: Listening, tmp_path: Path
) -> None:
    """A status of its own range, an error comment, and the association goes on."""
    good = encoded(image("1.2.3.4.5"))
    nameless = image("1.2.3.4.5")
    del nameless.StudyInstanceUID
    cases = [
        (b"noise" * 20, "1.2.3.4.5", 0xC000),
        (good[:40], "1.2.3.4.5", 0xC000),
        (encoded(nameless), "1.2.3.4.5", 0xC000),
        (encoded(image("../../etc/x")), "../../etc/x", 0xC000),
        (encoded(image("1." + "2" * 68)), "1." + "2" * 68, 0xC000),
        (good, "1.2.3.4.6", 0xA900),
        (encoded(image("1.2.3.4.5", sop_class=CT)), "1.2.3.4.5", 0xA900),
    ]
    with associated(listening.port) as association:
        for data, instance, expected in cases:
            answer = store(association, written(tmp_path / "case.dcm", data, instance))
            assert answer.Status == expected
            assert answer.ErrorComment
        answer = store(association, written(tmp_path / "case.dcm", good, "1.2.3.4.5"))
        assert answer.Status == 0x0000
    assert listening.count() == 1


@pytest.mark.usefixtures("raw_sending")
def test_several_scanners_send_at_once(listening: Listening, tmp_path: Path) -> None:
    """Different instances, the same instance, and one UID with two contents, all together."""
    same = image_file(tmp_path / "same", "1.2.3.1")
    first = image_file(tmp_path / "first", "1.2.3.2", BurnedInAnnotation="NO")
    second = image_file(tmp_path / "second", "1.2.3.2", BurnedInAnnotation="YES")
    own = [image_file(tmp_path / "own", f"1.2.3.1{number}") for number in range(4)]

    def send(paths: list[Path]) -> None:
        with associated(listening.port) as association:
            assert [store(association, path).Status for path in paths] == [0x0000] * len(paths)

    together(
        *[
            lambda mine=mine, other=other: send([same, other, mine])
            for mine, other in zip(own, [first, second] * 2, strict=True)
        ]
    )

    assert listening.count() == 1 + 2 + 4
    assert [row.conflict for row in listening.kept("1.2.3.2")] == [True, True]
    assert [row.conflict for row in listening.kept("1.2.3.1")] == [False]


@sqlite_only
def test_stopping_lets_a_transfer_finish(tmp_path: Path, database: Database) -> None:
    """The port closes at once; the open association goes on and is closed in the database."""
    settings = settings_for(tmp_path / "spool", stop_seconds=20.0)
    with running(settings, database) as listening, associated(listening.port) as association:
        dataset = image("1.2.3.4.5")
        dataset.file_meta = read_file_meta_info(image_file(tmp_path / "file", "1.2.3.4.5"))

        def finish() -> None:
            until(lambda: not accepts(listening.port), 10, "the port is closed")
            assert association.send_c_store(dataset).Status == 0x0000
            association.release()

        together(listening.listener.stop, finish)

    assert listening.count() == 1
    with database.read() as tx:
        assert [study.active_associations for study in studies.open_studies(tx)] == [0]
