"""OHIF in a headless Chromium, handled as a person does and asked through what it exposes.

Clicks and the wheel act; `window.services` answers. Nothing here waits for a time: each act ends
when the viewer shows what it led to.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Locator, Page, sync_playwright
from playwright.sync_api import TimeoutError as NotInTime

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "ohif"
_BLACK = 50
"""Grey levels, of 255, up to which a pixel counts as black, and colours up to which as grey."""
WIDTH, HEIGHT = 1280, 800
WAIT_MILLISECONDS = 60_000

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
_NO_TOUR = """localStorage.setItem("shownTours", '["basicViewerTour"]')"""

_DISPLAY_SETS = "services.displaySetService.getActiveDisplaySets()"
_UNSUPPORTED = f"{_DISPLAY_SETS}.filter(set => set.unsupported).map(set => set.Modality)"
_VIEWPORTS = """[...services.viewportGridService.getState().viewports.keys()]
    .map(id => services.cornerstoneViewportService.getCornerstoneViewport(id))"""
_POSITIONS = f"{_VIEWPORTS}.map(viewport => viewport.getImageData().origin[2])"
"""Where each viewport's image is toward the head, in mm; the sample's slices are axial."""
_SHOWN = f"""{_VIEWPORTS}.every(viewport => viewport
    && viewport.viewportStatus === 'rendered'
    && viewport.csImage?.imageId === viewport.getCurrentImageId()
    && viewport.getTargetImageIdIndex() === viewport.getCurrentImageIdIndex())"""
_JUMP = f"""([pane, millimetres]) => {{
    const viewport = {_VIEWPORTS}[pane];
    const distances = viewport.getImageIds().map(id => Math.abs(
        cornerstone.metaData.get('imagePlaneModule', id).imagePositionPatient[2] - millimetres));
    const imageIndex = distances.indexOf(Math.min(...distances));
    return cornerstone.utilities.jumpToSlice(viewport.element, {{imageIndex}});
}}"""
_SEGMENTED = """services.segmentationService.getSegmentations()
    .flatMap(segmentation => segmentation.representationData.Labelmap.imageIds)
    .map(id => cornerstone.cache.getImage(id))
    .map(image => [
        cornerstone.metaData.get('imagePlaneModule', image.referencedImageId)
            .imagePositionPatient[2],
        [...image.voxelManager.getScalarData().entries()]
            .filter(([, label]) => label > 0).map(([place]) => place),
    ])
    .filter(([, places]) => places.length)"""
_LIT = f"""threshold => {_VIEWPORTS}.map(viewport => {{
    const {{width, height}} = viewport.canvas;
    const {{data}} = viewport.canvas.getContext('2d').getImageData(0, 0, width, height);
    let [lit, coloured] = [0, 0];
    for (let at = 0; at < data.length; at += 4) {{
        const [red, green, blue] = data.subarray(at, at + 3);
        const [low, high] = [Math.min(red, green, blue), Math.max(red, green, blue)];
        lit += high > threshold;
        coloured += high - low > threshold;
    }}
    return [lit / (width * height), coloured / (width * height)];
}})"""
_OUTLINES = """cornerstoneTools.annotation.state.getAllAnnotations()
    .filter(annotation => annotation.metadata.toolName === 'DICOMSRDisplay').length"""


def viewer_folder() -> Path | None:
    """Return the folder of the built viewer that `fetch-ohif.sh` made, None where there is none.

    GATEKEEPER_OHIF names it; without that it is looked for in the source tree's cache.
    """
    folder = Path(os.environ.get("GATEKEEPER_OHIF", CACHE)) / "dist"
    return folder if (folder / "index.html").is_file() else None


@contextmanager
def browsing(program: str) -> Generator[BrowserContext]:
    """Run Chromium with a profile of its own until the end of the block."""
    with (
        tempfile.TemporaryDirectory(prefix="gatekeeper-chromium-") as profile,
        sync_playwright() as playwright,
    ):
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=program,
            args=list(_FLAGS),
            headless=True,
            viewport={"width": WIDTH, "height": HEIGHT},
        )
        context.set_default_timeout(WAIT_MILLISECONDS)
        context.add_init_script(_NO_TOUR)
        try:
            yield context
        finally:
            context.close()


@dataclass(frozen=True)
class ListedSeries:
    """A series as the viewer lists it."""

    modality: str
    number: int
    description: str
    images: int


@dataclass(frozen=True)
class Drawn:
    """What a pane has drawn, as shares of its area.

    Attributes:
        lit: what is not black.
        coloured: what is not grey.
    """

    lit: float
    coloured: float


class Viewer:
    """One study open in OHIF.

    Args:
        page: a page of the browser.
        origin: where the viewer is served.
        study: the Study Instance UID.
        series: how many series to wait for.

    Attributes:
        errors: what the page threw and did not catch.
    """

    def __init__(self, page: Page, origin: str, study: str, series: int) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(f"{origin}/viewer?StudyInstanceUIDs={study}")
        self._until(f"window.services && {_DISPLAY_SETS}.length === {series}", "all series listed")
        self.settle()

    def series(self) -> list[ListedSeries]:
        """Return the series listed, in the order of their numbers."""
        found: list[list[Any]] = self.page.evaluate(
            f"""{_DISPLAY_SETS}.map(set => [set.Modality, Number(set.SeriesNumber),
                set.SeriesDescription, set.numImageFrames ?? 0])"""
        )
        return sorted((ListedSeries(*one) for one in found), key=lambda one: one.number)

    def unsupported(self) -> set[str]:
        """Return the modalities of the series that the viewer lists as not supported."""
        return set(self.page.evaluate(_UNSUPPORTED))

    def scan_and_heatmaps(self) -> None:
        """Show the scan and, right of it, its heatmaps."""
        found = self.series()
        scan = next(one.number for one in found if one.modality == "MR")
        heatmaps = next(one.number for one in found if one.modality == "OT" and one.images > 1)
        self.side_by_side([scan, heatmaps])

    def side_by_side(self, numbers: Sequence[int]) -> None:
        """Show the series of these numbers, from left to right."""
        self.page.evaluate(
            "numCols => commandsManager.run('setViewportGridLayout', {numRows: 1, numCols})",
            len(numbers),
        )
        self._until(f"{_VIEWPORTS}.length === {len(numbers)}", "the panes are laid out")
        # A series put into a pane that has drawn nothing yet takes over its zoom: next to none.
        self.settle()
        self.page.evaluate(
            f"""numbers => services.viewportGridService.setDisplaySetsForViewports(
                [...services.viewportGridService.getState().viewports.keys()].map((id, pane) => ({{
                    viewportId: id,
                    displaySetInstanceUIDs: [{_DISPLAY_SETS}.find(
                        set => Number(set.SeriesNumber) === numbers[pane]).displaySetInstanceUID],
                }})))""",
            list(numbers),
        )
        self.settle()

    def synchronise(self) -> None:
        """Choose 'Image Slice Sync' from the tools."""
        self.page.locator("[data-cy=MoreTools-split-button-secondary]").click()
        self.page.get_by_text("Image Slice Sync").click()

    def scroll(self, pane: int, steps: int) -> None:
        """Turn the wheel over a pane, image by image; negative is toward the first image."""
        self.page.locator("[data-cy=viewport-pane]").nth(pane).hover()
        for _ in range(abs(steps)):
            before = self.positions()[pane]
            self.page.mouse.wheel(0, 100 if steps > 0 else -100)
            self._until(f"{_POSITIONS}[{pane}] !== {before}", "the wheel moves the pane")
            self.settle()

    def jump(self, pane: int, millimetres: float) -> None:
        """Show the image of a pane that is nearest to a height in the frame of reference."""
        self.page.evaluate(_JUMP, [pane, millimetres])
        self.settle()

    def positions(self) -> list[float]:
        """Return where each pane's image is toward the head, in mm of the frame of reference."""
        return self.page.evaluate(_POSITIONS)

    def settle_at(self, position: float) -> None:
        """Wait until every pane shows the image at a position; fail if one does not come there."""
        self._until(
            f"{_SHOWN} && {_POSITIONS}.every(place => Math.abs(place - {position}) < 0.01)",
            f"every pane is at {position} mm",
        )

    def drawn(self) -> list[Drawn]:
        """Return what each pane has drawn."""
        return [Drawn(*shares) for shares in self.page.evaluate(_LIT, _BLACK)]

    def close_film_players(self) -> None:
        """Close the players that OHIF opens over series of modality OT."""
        self.page.evaluate("services.cineService.setIsCineEnabled(false)")

    def try_to_open(self, number: int) -> None:
        """Click twice on a series that the viewer does not support, and wait until it says so.

        Args:
            number: its SeriesNumber.
        """
        self._entry(number).dblclick()
        self.page.get_by_text("Thumbnail Double Click").last.wait_for()
        self.settle()

    def open_report(self, number: int) -> None:
        """Open an SR over its source, without taking its outlines over as measurements.

        Args:
            number: its SeriesNumber.
        """
        self._entry(number).dblclick()
        self.page.locator("[data-cy=no-hydrate-btn]").click()
        self._until(f"{_OUTLINES} > 0", "the report's outlines are on the images")
        self.settle()
        # On a busy machine OHIF may draw the image before it has the outlines, and then nothing
        # more until something moves: a person's mouse does.
        self.page.evaluate(f"{_VIEWPORTS}.forEach(viewport => viewport.render())")
        self.settle()

    def next_group(self) -> None:
        """Go to the report's next group of measurements."""
        self.page.locator("[data-cy=viewport-action-arrows-right]").click()
        self.settle()

    def outlines(self) -> int:
        """Return how many outlines of the report are on the images."""
        return int(self.page.evaluate(_OUTLINES))

    def open_segmentation(self) -> None:
        """Open the SEG over its source and take it over as a segmentation."""
        number = next(one.number for one in self.series() if one.modality == "SEG")
        self._entry(number).dblclick()
        self.page.locator("[data-cy=yes-hydrate-btn]").click()
        self._until(f"{_SEGMENTED}.length", "the segments are on the images")
        self.settle()

    def segmented(self) -> dict[float, list[int]]:
        """Return the places of the segments' voxels in each image, by its height in mm."""
        found: list[tuple[float, list[int]]] = self.page.evaluate(_SEGMENTED)
        return dict(found)

    def wait_for_text(self, text: str) -> None:
        """Wait until words are to be seen in a pane."""
        self.page.locator("[data-cy=viewport-pane]").get_by_text(text).first.wait_for()

    def settle(self) -> None:
        """Wait until every pane has drawn the image that it is to show."""
        self._until(_SHOWN, "every pane has drawn its image")

    def picture(self) -> bytes:
        """Return what is to be seen as PNG."""
        return self.page.screenshot(animations="disabled")

    def _entry(self, number: int) -> Locator:
        """Return the entry of a series that is listed without a picture."""
        entries = self.page.locator("[data-cy=study-browser-thumbnail-no-image]")
        return entries.filter(has=self.page.get_by_text(f"S:{number}", exact=True))

    def _until(self, condition: str, what: str) -> None:
        try:
            # Polled: a headless page without change draws no frames to look at it in.
            self.page.wait_for_function(condition, polling=50)
        except NotInTime as error:
            errors = "; ".join(self.errors)
            raise AssertionError(f"not seen: {what}. {errors}") from error
