"""`make screenshots`: pictures of the results in OHIF, for the documentation.

Drives the same viewer with the same study as the tests beside it.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from viewer.ohif import Viewer, browsing, viewer_folder
from viewer.server import serving
from viewer.study import DICOMWEB_PLUGIN, ViewedStudy, archive_with_study

_REPORT = 9100
_KEY_OBJECTS = 9160


def main() -> None:
    """Write the pictures into the folder given on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    ohif, orthanc, chromium = viewer_folder(), shutil.which("Orthanc"), shutil.which("chromium")
    if ohif is None or orthanc is None or chromium is None or not DICOMWEB_PLUGIN.exists():
        sys.exit(
            "screenshots need Debian's orthanc, orthanc-dicomweb and chromium, and the viewer that "
            "tests/viewer/fetch-ohif.sh fetches"
        )
    with (
        tempfile.TemporaryDirectory(prefix="gatekeeper-screenshots-") as work,
        archive_with_study(orthanc, Path(work)) as (archive, study),
        serving(ohif, archive.url) as origin,
        browsing(chromium) as browser,
    ):
        pictures = {
            "viewer-side-by-side": side_by_side,
            "viewer-report": report,
            "viewer-segmentation": segmentation,
            "viewer-unsupported": unsupported,
        }
        if not study.segmented:
            del pictures["viewer-segmentation"]
        for name, picture in pictures.items():
            viewer = Viewer(browser.new_page(), origin, study.uid, study.series)
            (folder / f"{name}.png").write_bytes(small(picture(viewer, study)))
            viewer.page.close()


def side_by_side(viewer: Viewer, study: ViewedStudy) -> bytes:
    """Return the scan and its heatmaps, synchronised, at the sphere."""
    viewer.scan_and_heatmaps()
    viewer.close_film_players()
    viewer.synchronise()
    viewer.jump(0, study.sphere_mm)
    viewer.settle_at(viewer.positions()[0])
    return viewer.picture()


def report(viewer: Viewer, study: ViewedStudy) -> bytes:
    """Return the report's first region on the scan."""
    viewer.open_report(_REPORT)
    viewer.next_group()
    viewer.wait_for_text("Volume")
    return viewer.picture()


def segmentation(viewer: Viewer, study: ViewedStudy) -> bytes:
    """Return the segments over the scan, at the sphere."""
    viewer.open_segmentation()
    viewer.jump(0, study.sphere_mm)
    return viewer.picture()


def unsupported(viewer: Viewer, study: ViewedStudy) -> bytes:
    """Return the scan beside the list of series, after a try to open the key objects."""
    viewer.jump(0, study.sphere_mm)
    viewer.try_to_open(_KEY_OBJECTS)
    return viewer.picture()


def small(picture: bytes) -> bytes:
    """Return the same pixels as a smaller PNG; a palette would coarsen the heatmap's colours."""
    out = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    main()
