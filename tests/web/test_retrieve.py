"""QIDO-RS and WADO-RS: what is held is found and read back, and nothing else is."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session
from listen.wire import EXPLICIT, MR, encoded, image, sqlite_only
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from support.web import Web, multipart, part10, running_web, settings_for

from gatekeeper.listen.file_meta import part10_header
from storage.engine import Database
from storage.schema import api_token, instance

ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def client(web: Web) -> DICOMwebClient:
    """Return the field's own client, with the reader's token."""
    session = create_session()
    session.trust_env = False
    return DICOMwebClient(
        web.url, session=session, headers={"Authorization": f"Bearer {web.reader}"}
    )


def fill(web: Web) -> None:
    """Send two studies, the first of two series, and hold the first."""
    files = [
        part10("1.2.3.1", PatientName="Doe^Jane", StudyDate="20240105", InstanceNumber=1),
        part10("1.2.3.2", PatientName="Doe^Jane", StudyDate="20240105", InstanceNumber=2),
        part10("1.2.3.3", PatientName="Doe^Jane", series="1.2.3.5", SeriesDescription="t1_mpr"),
        part10("1.2.4.1", study="1.2.4", series="1.2.4.5"),
    ]
    assert web.stow(multipart(files)).status_code == 200
    web.hold("1.2.3")


def found(answer: httpx.Response, tag: str) -> list[Any]:
    assert answer.status_code == 200, answer.text
    return [item[tag]["Value"][0] for item in json.loads(answer.content)]


def test_the_fields_own_client_reads_back_what_was_received(web: Web) -> None:
    """dicomweb-client finds the held study and gets each data set byte for byte."""
    fill(web)
    reader = client(web)

    [study] = reader.search_for_studies()
    assert study["0020000D"]["Value"] == ["1.2.3"]
    assert study["00201206"]["Value"] == [2]
    assert study["00201208"]["Value"] == [3]
    assert study["00080061"]["Value"] == ["MR"]
    assert study["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert len(reader.search_for_series("1.2.3")) == 2
    assert len(reader.search_for_instances("1.2.3", "1.2.3.4")) == 2
    got = {str(one.SOPInstanceUID): one for one in reader.retrieve_study("1.2.3")}
    assert sorted(got) == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
    one = reader.retrieve_instance("1.2.3", "1.2.3.5", "1.2.3.3")
    sent = image("1.2.3.3", PatientName="Doe^Jane", series="1.2.3.5", SeriesDescription="t1_mpr")
    written = BytesIO()
    dcmwrite(written, one)
    assert written.getvalue().endswith(encoded(sent))
    [told] = (reader.retrieve_instance_metadata("1.2.3", "1.2.3.5", "1.2.3.3"),)
    assert Dataset.from_json(told).SeriesDescription == "t1_mpr"


@sqlite_only
def test_the_bytes_are_those_of_the_spool(web: Web) -> None:
    """Each part is the kept file, whatever its transfer syntax, and the length is told before."""
    fill(web)
    answer = web.get("/studies/1.2.3/series/1.2.3.5/instances/1.2.3.3", ANY)

    [kept] = web.kept("1.2.3.3")
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    boundary = answer.headers["Content-Type"].rpartition("boundary=")[2].encode()
    head, _, rest = answer.content.partition(b"\r\n\r\n")
    assert head == b"--" + boundary + b"\r\nContent-Type: application/dicom"
    assert rest == web.spool.path(kept.digest).read_bytes() + b"\r\n--" + boundary + b"--\r\n"


@sqlite_only
def test_what_is_not_held_is_not_served(web: Web, tmp_path: Path) -> None:
    """Neither found nor given, by UID either, unless all studies are served."""
    fill(web)
    places = ("", "/metadata", "/series/1.2.4.5", "/series/1.2.4.5/instances/1.2.4.1")
    for place in places:
        accept = "*/*"
        assert web.get(f"/studies/1.2.4{place}", accept).status_code == 404
    assert found(web.get("/studies", StudyInstanceUID="1.2.4"), "0020000D") == []
    assert found(web.get("/studies/1.2.4/series"), "0020000E") == []
    assert web.get("/studies/1.2.3/series/1.2.4.5", "*/*").status_code == 404

    everything = settings_for(tmp_path / "spool", {"serves": "all"})
    with web.database.begin() as tx:
        tx.execute(api_token.delete())
    with running_web(everything, web.database) as other:
        assert sorted(found(other.get("/studies"), "0020000D")) == ["1.2.3", "1.2.4"]
        assert other.get("/studies/1.2.4", "*/*").status_code == 200


QUERIES: list[tuple[str, dict[str, str], list[str]]] = [
    ("studies", {"PatientName": "doe*"}, ["1.2.3"]),
    ("studies", {"00100010": "D?e^J*"}, ["1.2.3"]),
    ("studies", {"PatientName": "[D]oe*"}, []),
    ("studies", {"PatientName": ""}, ["1.2.3"]),
    ("studies", {"StudyDate": "20240101-20240131"}, ["1.2.3"]),
    ("studies", {"StudyDate": "-20240104"}, []),
    ("studies", {"StudyDate": "20240105"}, ["1.2.3"]),
    ("studies", {"StudyInstanceUID": "1.2.9,1.2.3"}, ["1.2.3"]),
    ("studies", {"ModalitiesInStudy": "CT"}, []),
    ("studies", {"offset": "1"}, []),
    ("studies", {"includefield": "all", "fuzzymatching": "true"}, ["1.2.3"]),
    ("series", {"SeriesDescription": "*mpr"}, ["1.2.3.5"]),
    ("series", {"PatientID": "CANARY-ID", "limit": "1"}, ["1.2.3.4"]),
    ("instances", {"InstanceNumber": "2"}, ["1.2.3.2"]),
    ("instances", {"SOPInstanceUID": "1.2.3.3", "Modality": "MR"}, ["1.2.3.3"]),
    ("instances", {"offset": "1", "limit": "1"}, ["1.2.3.2"]),
]
TAGS = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}


@sqlite_only
def test_a_query_finds_what_matches(web: Web) -> None:
    """Wildcards, ranges, lists, universal matching, limit and offset (PS3.4 C.2.2.2)."""
    fill(web)
    for level, parameters, uids in QUERIES:
        answer = web.get(f"/{level}", **parameters)
        assert found(answer, TAGS[level]) == uids, parameters
        warns = "fuzzymatching" in parameters or "limit" in parameters
        assert ("Warning" in answer.headers) == warns, parameters


@sqlite_only
def test_a_query_that_cannot_be_answered_is_refused(web: Web) -> None:
    """With the rule, and without what was asked."""
    for parameters in (
        {"limit": "-1"},
        {"limit": "many"},
        {"NoSuchAttribute": "1"},
        {"SOPInstanceUID": "1.2"},
        {"includefield": "NoSuchAttribute"},
        {"PatientName": "x" * 2000},
        {"00100010'": "x"},
    ):
        answer = web.get("/studies", **parameters)
        assert answer.status_code == 400, parameters
        assert "xxx" not in answer.text


@sqlite_only
def test_a_uid_with_two_contents_is_given_with_both(web: Web) -> None:
    """A person who looks sees the conflict; the index has the UID once."""
    files = [part10("1.2.3.1"), part10("1.2.3.1", PatientID="OTHER")]
    web.stow(multipart(files))
    web.hold("1.2.3")

    assert found(web.get("/instances"), "00080018") == ["1.2.3.1"]
    told = json.loads(web.get("/studies/1.2.3/metadata").content)
    assert sorted(one["00100020"]["Value"][0] for one in told) == ["CANARY-ID", "OTHER"]
    assert len(client(web).retrieve_study("1.2.3")) == 2


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@sqlite_only
def test_metadata_of_a_hostile_header_are_what_can_be_shown(web: Web) -> None:
    """Broken values, deep sequences, private and bulk data: the rest is shown, in bounded time."""
    nested = Dataset()
    for _ in range(30):
        outer = Dataset()
        outer.ContentSequence = [nested]
        nested = outer
    odd = image("1.2.3.1", SeriesDescription="shown", ContentSequence=nested.ContentSequence)
    odd.add_new(0x00091001, "OB", bytes(100))
    odd.add_new(0x00189073, "FD", float("nan"))
    data = encoded(odd)
    broken = data.replace(b"CANARY-ID", b"\xff\xfe\x00ARY-ID")
    cut = part10_header(MR, "1.2.3.2", EXPLICIT) + encoded(image("1.2.3.2"))[:-40]
    files = [part10_header(MR, "1.2.3.1", EXPLICIT) + broken, cut]
    assert web.stow(multipart(files)).status_code == 200
    web.hold("1.2.3")

    first, second = json.loads(web.get("/studies/1.2.3/metadata").content)
    assert first["0008103E"]["Value"] == ["shown"]
    assert "00091001" not in first
    assert "7FE00010" not in first
    assert "00189073" not in first
    assert second["00080018"]["Value"] == ["1.2.3.2"]
    assert found(web.get("/instances"), "00080018") == ["1.2.3.1", "1.2.3.2"]


@sqlite_only
def test_what_retention_removed_is_gone_and_what_is_lost_is_an_error(web: Web) -> None:
    """410 for the first; for a file that should be there, an answer that does not end well."""
    fill(web)
    [one] = web.kept("1.2.3.3")
    with web.database.begin() as tx:
        removed = instance.update().where(instance.c.sop_instance_uid == "1.2.3.3")
        tx.execute(removed.values(removed_at=1.0))
    place = "/studies/1.2.3/series/1.2.3.5/instances/1.2.3.3"
    assert web.get(place, "*/*").status_code == 410
    assert found(web.get("/studies"), "00201208") == [2]
    with web.database.begin() as tx:
        tx.execute(removed.values(removed_at=None))
    web.spool.path(one.digest).unlink()
    with pytest.raises(httpx.HTTPError):
        web.get(place, "*/*")
    assert len(found(web.get("/instances"), "00080018")) == 3


@sqlite_only
def test_nothing_is_rendered_or_transcoded(web: Web) -> None:
    """406, not another thing than was asked for."""
    fill(web)
    for accept in (
        "image/jpeg",
        "application/dicom",
        'multipart/related; type="image/jpeg"',
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50',
    ):
        assert web.get("/studies/1.2.3", accept).status_code == 406, accept
    assert web.get("/studies", "application/dicom+xml").status_code == 406


@sqlite_only
def test_a_query_ends_at_its_limits_and_says_so(tmp_path: Path, database: Database) -> None:
    """So many headers are read, and no more."""
    with running_web(settings_for(tmp_path / "spool", {"maximum_read": 2}), database) as web:
        fill(web)
        answer = web.get("/instances")
    assert found(answer, "00080018") == ["1.2.3.1", "1.2.3.2"]
    assert "there may be further results" in answer.headers["Warning"]
