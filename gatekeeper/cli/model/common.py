"""What the commands of `gatekeeper model` share: bundles, reference data, progress, errors."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gatekeeper.cli.output import error_console, fail
from gatekeeper.cli.site import site_of
from gatekeeper.configuration import choice
from gatekeeper.settings import Settings
from models.errors import ModelError
from models.registry import BundleInfo, Profile, Registry
from storage.engine import Database

if TYPE_CHECKING:
    from rich.progress import TaskID

    from models.scan import Scan

BundleName = Annotated[str, typer.Argument(help="name of a bundle, as `model list` shows it")]
Data = Annotated[
    Path,
    typer.Option(help="folder of the scans: DICOM, NIfTI, or a data set of a known form"),
]
Form = Annotated[
    str | None,
    typer.Option(help="form of the data set, `dicom` or as the error for a wrong one lists them"),
]
Split = Annotated[str, typer.Option(help="which subjects: train, calibration, dev, all")]
Device = Annotated[str, typer.Option(help="where models run: cpu or cuda")]

DICOM = "dicom"


@contextmanager
def model_errors() -> Generator[None]:
    """Within, what is wrong with a model or its data ends the command with one sentence."""
    try:
        yield
    except ModelError as error:
        fail(str(error))


def settings_of(context: typer.Context) -> Settings:
    """Return the site's settings."""
    return site_of(context).settings


def registry_of(context: typer.Context) -> Registry:
    """Return the bundles of the site and of the package, under the site's choice."""
    settings = settings_of(context)
    return Registry(settings.models.directories, _choice(settings))


def _choice(settings: Settings) -> choice.Choice | None:
    """Return the site's choice, without making a database where there is none yet."""
    database = Database.connect(settings.database.url, settings.database.lock_seconds)
    try:
        if database.schema_problem() is not None:
            return choice.of_file(settings)
        with database.read() as tx:
            return choice.chosen(tx, settings)
    finally:
        database.dispose()


def site_folder(context: typer.Context) -> Path:
    """Return the site's folder of bundles, made when it is missing; ends without one set."""
    directories = settings_of(context).models.directories
    if not directories:
        fail("models.directory is not set: a site's own bundles are kept there")
    directories[0].mkdir(parents=True, exist_ok=True)
    return directories[0]


@dataclass(slots=True)
class Reference:
    """The scans behind `--data`.

    Attributes:
        folder: where they are.
        form: of the set; None to recognise it.
        split: which subjects.
        profile: what is wanted of a DICOM folder; other sets are taken as they are.
        limit: at most so many scans; 0 for all.
        left_out: why files, series or volumes of a DICOM folder were left out, counted.
    """

    folder: Path
    form: str | None
    split: str
    profile: Profile
    limit: int = 0
    left_out: Counter[str] = field(default_factory=Counter[str])
    _is_dicom: bool | None = None

    @property
    def is_dicom(self) -> bool:
        """Whether the folder is read as DICOM: named so, or of no other known form."""
        if self._is_dicom is None:
            self._is_dicom = self._recognised()
        return self._is_dicom

    def _recognised(self) -> bool:
        from gatekeeper.reference import holds_dicom
        from models.sources import open_source

        if not self.folder.is_dir():
            raise ModelError(f"{self.folder}: no such folder")
        if self.form is not None:
            return self.form == DICOM
        try:
            open_source(self.folder)
        except ModelError as error:
            if holds_dicom(self.folder):
                return True
            raise ModelError(f"{error}\n  {DICOM}: DICOM files, in any folders") from error
        return False

    def scans(self, context: typer.Context) -> Iterator[Scan]:
        """Yield the scans.

        Raises:
            ModelError: if the folder is of no known form, or a scan breaks its rules.
        """
        for number, scan in enumerate(self._all(context), start=1):
            yield scan
            if number == self.limit:
                return

    def _all(self, context: typer.Context) -> Iterator[Scan]:
        if not self.is_dicom:
            from models.sources import open_source

            yield from open_source(self.folder, self.form).read(self.folder, self.split)
            return
        from gatekeeper.pseudonym import subject_key
        from gatekeeper.reference import Limits, dicom_scans

        work = settings_of(context).work
        yield from dicom_scans(
            self.folder,
            self.split,
            self.profile,
            subject_key(site_folder(context)),
            Limits(work.memory_mib, work.cpu_seconds, work.wall_seconds, work.maximum_voxels),
            lambda reason: self.left_out.update([reason]),
        )

    def report(self) -> None:
        """Print what was left out."""
        for reason, count in self.left_out.most_common():
            error_console.print(f"Left out: {count} x {reason}", highlight=False)


@contextmanager
def progress_bars(*, shown: bool = True) -> Generator[Callable[[str, int, int], None]]:
    """Give a function that shows how far each step is: (step, done, total); total 0: not known.

    The bars go to standard error: what a program reads on standard output stays whole.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=error_console, disable=not shown) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total or None)
            bars.update(tasks[step], completed=done, total=total or None)

        yield progress


def counted(progress: Callable[[str, int, int], None], step: str) -> Callable[[str], None]:
    """Return what counts one more of a step, of which the number is not known, at each call."""
    number = itertools.count(1)

    def one_more(_name: str) -> None:
        progress(step, next(number), 0)

    return one_more


def licence_text(info: BundleInfo) -> str:
    """Return under what the weights may be used, non-commercial ones marked."""
    return (
        f"NON-COMMERCIAL: {info.weights_licence}" if info.non_commercial else info.weights_licence
    )
