"""STOW-RS in: what is answered as stored is kept, and what is refused is refused for its reason."""

from __future__ import annotations

from pathlib import Path

from listen.wire import CT, EXPLICIT, MR, encoded, image, sqlite_only
from support.receiving import receive_data, running_receiver
from support.waiting import until
from support.web import (
    BOUNDARY,
    SENDER,
    Web,
    multipart,
    outcome,
    part10,
    running_web,
    settings_for,
)

from gatekeeper.ledger import balance
from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.listen.file_meta import part10_header
from storage import studies
from storage.engine import Database
from storage.spool import Spool


def test_what_is_answered_as_stored_is_kept(web: Web) -> None:
    """Rows and files, from the token's node, with the data set byte for byte."""
    files = [part10(f"1.2.3.{number}") for number in range(3)]
    answer = web.stow(multipart(files))

    assert outcome(answer) == (200, ["1.2.3.0", "1.2.3.1", "1.2.3.2"], {}, [])
    for number in range(3):
        [kept] = web.kept(f"1.2.3.{number}")
        assert (kept.source_ae, kept.study_instance_uid) == (SENDER, "1.2.3")
        data = encoded(image(f"1.2.3.{number}"))
        header = part10_header(MR, f"1.2.3.{number}", EXPLICIT)
        assert web.spool.path(kept.digest).read_bytes() == header + data
    assert balance(web.database, web.spool, verify=True).balanced


@sqlite_only
def test_the_same_data_set_is_the_same_whichever_way_it_came(
    tmp_path: Path, database: Database
) -> None:
    """By C-STORE and by STOW-RS, under a sender's own file meta: one row, no conflict."""
    spool = Spool(tmp_path / "spool")
    with running_receiver(database, spool) as receiver:
        scanner = OpenAssociation("SCANNER", "127.0.0.1")
        assert receive_data(receiver, "1.2.3.1", encoded(image("1.2.3.1")), scanner).status == 0
    with running_web(settings_for(tmp_path / "spool"), database) as web:
        assert web.stow(multipart([part10("1.2.3.1")])).status_code == 200
        [kept] = web.kept("1.2.3.1")

    assert (kept.source_ae, kept.conflict) == ("SCANNER", False)


@sqlite_only
def test_two_contents_under_one_uid_are_both_kept(web: Web) -> None:
    """As by C-STORE: the conflict is recorded, nothing is overwritten, both are answered."""
    files = [part10("1.2.3.1"), part10("1.2.3.1", PatientID="OTHER"), part10("1.2.3.1")]
    assert outcome(web.stow(multipart(files)))[:2] == (200, ["1.2.3.1"] * 3)

    kept = web.kept("1.2.3.1")
    assert [one.conflict for one in kept] == [True, True]
    assert balance(web.database, web.spool, verify=True).balanced


@sqlite_only
def test_our_own_results_are_kept_and_never_analysed(web: Web) -> None:
    """An object with our marks makes no study, as by C-STORE."""
    own = part10("1.2.3.1", Manufacturer="Gatekeeper", ManufacturerModelName="Gatekeeper")
    assert web.stow(multipart([own])).status_code == 200

    [kept] = web.kept("1.2.3.1")
    assert kept.own_result
    with web.database.read() as tx:
        assert studies.get(tx, "1.2.3") is None


@sqlite_only
def test_every_part_is_answered_for_itself(web: Web) -> None:
    """Stored, another object than announced, another study, no DICOM, not stored here."""
    other_class = part10_header("1.2.840.10008.1.3.10", "1.2.3.5", EXPLICIT)
    unknown_syntax = part10_header(MR, "1.2.3.6", "1.2.3.4.5.6")
    deflated = part10_header(MR, "1.2.3.7", "1.2.840.10008.1.2.1.99")
    data = encoded(image("1.2.3.5"))
    files = [
        part10("1.2.3.1"),
        part10("1.2.3.2", meta_of="1.2.3.99"),
        part10("1.2.3.3", sop_class=CT),
        part10("1.2.3.4", study="1.2.4"),
        other_class + data,
        unknown_syntax + data,
        deflated + data,
        b"no DICOM" * 50,
        b"",
        part10("1.2.3.8")[:200],
        part10("1.2.3.9")[:-120],
    ]
    status, stored, failed, others = outcome(web.stow(multipart(files), "/studies/1.2.3"))

    assert (status, stored) == (202, ["1.2.3.1"])
    assert failed == {
        "1.2.3.99": 0xA900,
        "1.2.3.3": 0xA900,
        "1.2.3.4": 0xA900,
        "1.2.3.5": 0x0122,
        "1.2.3.6": 0xC122,
        "1.2.3.7": 0xC122,
        "1.2.3.9": 0xC000,
    }
    assert others == [0xC000, 0xC000, 0xC000]
    until(lambda: not web.unfinished(), 60, "nothing is left of what was refused")


@sqlite_only
def test_nothing_stored_is_a_conflict(web: Web) -> None:
    """409, with the reason of each (PS3.18 10.5.3)."""
    assert outcome(web.stow(multipart([b"x"]))) == (409, [], {}, [0xC000])


@sqlite_only
def test_a_study_stays_open_while_its_upload_lasts(web: Web) -> None:
    """An upload is as open as an association, so no study completes under its sender."""
    import socket

    first = multipart([part10("1.2.3.1")]).removesuffix(f"--{BOUNDARY}--\r\n".encode())
    # A part is over only when the next boundary is there.
    first += f"--{BOUNDARY}\r\n".encode()
    last = b"Content-Type: application/dicom\r\n\r\n" + part10("1.2.3.2")
    last += f"\r\n--{BOUNDARY}--\r\n".encode()
    padding = b"\r\nepilogue".ljust(300_000)
    head = (
        f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {web.sender}\r\n"
        f'Content-Type: multipart/related; type="application/dicom"; boundary={BOUNDARY}\r\n'
        f"Content-Length: {len(first) + len(last) + len(padding)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", web.port), timeout=60) as connection:
        connection.sendall(head.encode() + first + last + padding[:270_000])
        until(lambda: web.kept("1.2.3.2"), 60, "both are kept, long before the end")
        with web.database.read() as tx:
            [found] = studies.open_studies(tx)
            assert found.active_associations == 1
        connection.sendall(padding[270_000:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")

    def closed() -> bool:
        with web.database.read() as tx:
            return studies.open_studies(tx)[0].active_associations == 0

    until(closed, 60, "the upload has ended")


KINDS = {
    "multipart/form-data; boundary=a": 415,
    "application/dicom": 415,
    'multipart/related; type="application/dicom+json"; boundary=a': 415,
    "multipart/related; boundary=a": 415,
    'multipart/related; type="application/dicom"': 400,
    'multipart/related; type="application/dicom"; boundary=' + "a" * 300: 400,
}


@sqlite_only
def test_a_body_of_another_kind_is_refused(web: Web) -> None:
    """By its header alone."""
    body = multipart([part10("1.2.3.1")])
    answered = {kind: web.stow(body, Content_Type=kind).status_code for kind in KINDS}
    assert answered == KINDS


@sqlite_only
def test_an_answer_of_another_kind_is_not_given(web: Web) -> None:
    """XML is not spoken here; a part that is no DICOM file ends the request."""
    body = multipart([part10("1.2.3.1")])
    assert web.stow(body, Accept="application/dicom+xml").status_code == 406
    assert web.stow(body, Content_Encoding="gzip").status_code == 415
    assert web.stow(multipart([b"{}"], "application/dicom+json")).status_code == 415
    assert web.stow(body, "/studies/..%2F..%2Fetc").status_code in {400, 404, 405}
    assert web.stow(body, "/studies/not%20a%20uid").status_code == 400
