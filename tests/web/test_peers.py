"""Programs of the field that send to us and read from us by DICOMweb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session
from listen.wire import data_set_of, sqlite_only
from pydicom import dcmread
from support.objects import STUDY, write_slices
from support.orthanc import Orthanc
from support.web import Web

from gatekeeper.ledger import balance

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
"""Where Debian's orthanc-dicomweb puts it."""


@pytest.fixture
def archive(web: Web, orthanc: Callable[..., Orthanc], peer: Callable[[str], str]) -> Orthanc:
    """Run an Orthanc that knows us as a DICOMweb server."""
    if not PLUGIN.exists():
        # Named as a program, so that it skips or fails as every missing peer does.
        peer(str(PLUGIN))
    servers = {
        name: {"Url": f"{web.url}/", "HttpHeaders": {"Authorization": f"Bearer {token}"}}
        for name, token in (("intake", web.sender), ("held", web.reader))
    }
    return orthanc(Plugins=[str(PLUGIN)], DicomWeb={"Enable": True, "Servers": servers})


@sqlite_only
def test_orthanc_sends_a_study_to_us_and_reads_it_back(
    web: Web, archive: Orthanc, tmp_path: Path
) -> None:
    """Its own STOW-RS and WADO-RS clients: every data set byte for byte, there and back."""
    paths = write_slices(tmp_path / "files", 6)
    sent = [archive.upload(path) for path in paths]
    archive.post("/dicom-web/servers/intake/stow", {"Resources": sent, "Synchronous": True})

    for number, path in enumerate(paths, start=1):
        [kept] = web.kept(f"{STUDY}.2.{number}")
        assert data_set_of(web.spool.path(kept.digest)) == data_set_of(path)
    assert balance(web.database, web.spool, verify=True).balanced
    web.hold(STUDY)
    for one in archive.get_json("/studies"):
        archive.delete(f"/studies/{one}")
    archive.post("/dicom-web/servers/held/retrieve", {"Resources": [{"Study": STUDY}]})
    kept = [web.spool.path(web.kept(f"{STUDY}.2.{number}")[0].digest) for number in range(1, 7)]
    assert sorted(archive.objects()) == sorted(path.read_bytes() for path in kept)


@sqlite_only
def test_the_fields_own_client_sends_to_us(web: Web, tmp_path: Path) -> None:
    """dicomweb-client stores, and is told each instance; a refused one is in the answer."""
    session = create_session()
    session.trust_env = False
    headers = {"Authorization": f"Bearer {web.sender}"}
    client = DICOMwebClient(web.url, session=session, headers=headers)
    sent = [dcmread(path) for path in write_slices(tmp_path / "files", 3)]
    answer = client.store_instances(sent)
    stored = [str(one.ReferencedSOPInstanceUID) for one in answer.ReferencedSOPSequence]
    assert stored == [str(one.SOPInstanceUID) for one in sent]
    sent[1].StudyInstanceUID = "1.2.3"
    answer = client.store_instances(sent, study_instance_uid=STUDY)
    [refused] = answer.FailedSOPSequence
    assert (refused.ReferencedSOPInstanceUID, refused.FailureReason) == (
        sent[1].SOPInstanceUID,
        0xA900,
    )
