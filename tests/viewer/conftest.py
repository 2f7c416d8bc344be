"""The viewer with a study in it, once for all tests here."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from viewer.ohif import Viewer
    from viewer.study import ViewedStudy


def _missing(what: str, *, required: bool) -> NoReturn:
    if required:
        pytest.fail(f"peer missing: {what}, and peers are required here")
    pytest.skip(f"peer missing: {what}")


@pytest.fixture(scope="session")
def ohif() -> Path:
    """Return the folder of the built viewer; where GATEKEEPER_OHIF names one, it must be there."""
    pytest.importorskip("playwright")
    from viewer.ohif import viewer_folder

    folder = viewer_folder()
    if folder is None:
        _missing("OHIF (tests/viewer/fetch-ohif.sh)", required="GATEKEEPER_OHIF" in os.environ)
    return folder


@pytest.fixture(scope="session")
def study_and_origin(
    ohif: Path, peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Generator[tuple[ViewedStudy, str]]:
    """Serve OHIF beside an Orthanc that holds the study; yield the study and the origin."""
    from viewer.server import serving
    from viewer.study import DICOMWEB_PLUGIN, archive_with_study

    pytest.importorskip("nilearn")
    orthanc = peer("Orthanc")
    if not DICOMWEB_PLUGIN.exists():
        required = os.environ.get("GATEKEEPER_PEERS") == "required"
        _missing("Orthanc's DICOMweb is not installed", required=required)
    with (
        archive_with_study(orthanc, tmp_path_factory.mktemp("viewed")) as (archive, study),
        serving(ohif, archive.url) as origin,
    ):
        yield study, origin


@pytest.fixture(scope="session")
def study(study_and_origin: tuple[ViewedStudy, str]) -> ViewedStudy:
    """Return what is to be seen."""
    return study_and_origin[0]


@pytest.fixture(scope="module")
def open_viewer(
    ohif: Path, peer: Callable[[str], str], study_and_origin: tuple[ViewedStudy, str]
) -> Generator[Callable[[], Viewer]]:
    """Return a function that opens the study in a fresh page of one browser.

    For one module: while it is open, nothing else in this thread may run an event loop.
    """
    from viewer.ohif import Viewer, browsing

    study, origin = study_and_origin
    with browsing(peer("chromium")) as browser:
        yield lambda: Viewer(browser.new_page(), origin, study.uid, study.series)


@pytest.fixture
def viewer(open_viewer: Callable[[], Viewer]) -> Generator[Viewer]:
    """Give the study, just opened; fail if the viewer failed meanwhile."""
    viewer = open_viewer()
    yield viewer
    viewer.page.close()
    assert not viewer.errors
