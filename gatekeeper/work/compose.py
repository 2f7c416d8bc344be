"""Compose: the result objects of a study, of the kinds that somebody takes, one at a time.

They come in the order in which they are sent: words and numbers first, then the picture that
answers at a glance, then one picture a slice, then what only some viewers show.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.attributes import lacks_character_set
from gatekeeper.results.capture import iterate_heatmaps
from gatekeeper.results.catalogue import Catalogue
from gatekeeper.results.codec import compressed
from gatekeeper.results.common import assessed, first_header, images, measured
from gatekeeper.results.key_objects import key_objects
from gatekeeper.results.kinds import STATEMENT
from gatekeeper.results.montage import montage
from gatekeeper.results.parametric import parametric_map
from gatekeeper.results.plain_report import plain_report
from gatekeeper.results.presentation import presentation_states
from gatekeeper.results.report import FORMS, report
from gatekeeper.results.segmentation import segmentation
from gatekeeper.work.stages import Stages

Composed = tuple[str, Dataset]
"""A kind of result and the object, with its file meta information."""

_SYNTAXES = {"none": ExplicitVRLittleEndian, "rle": RLELossless, "jpeg2000": JPEG2000Lossless}


def compose(
    study: StudyAssessment, wanted: Collection[str], compression: str, stages: Stages
) -> Iterator[Composed]:
    """Yield the result objects of a study.

    Args:
        study: the job's answer.
        wanted: kinds of result to make; see `gatekeeper.results.kinds`.
        compression: of the pictures: ``none``, ``rle`` or ``jpeg2000``.
        stages: takes the time of ``report`` (documents), ``render`` (pictures) and ``objects``.
    """
    with stages.measure("report"):
        documents = list(_documents(study, wanted))
    yield from documents
    series_of = assessed(study)
    with stages.measure("render"):
        pictures = [("montage", montage(study, one)) for one in series_of if "montage" in wanted]
    for kind, picture in pictures:
        if picture is not None:
            yield kind, compressed(picture, _SYNTAXES[compression])
    if "heatmap" in wanted:
        for one in series_of:
            with stages.measure("render"):
                for picture in iterate_heatmaps(study, one):
                    yield "heatmap", compressed(picture, _SYNTAXES[compression])
    for one in series_of:
        with stages.measure("objects"):
            yield from _objects(study, one, wanted)


def in_language(study: StudyAssessment, words: Catalogue) -> StudyAssessment:
    """Return the study to be told in a language.

    Where an image has text beyond ASCII and states no character set, its results keep its bytes and
    state none either: they are told in ASCII letters.
    """
    headers = [
        header for series in study.series for header in (first_header(series), *images(series)[:1])
    ]
    if any(lacks_character_set(header) for header in headers):
        words = words.in_ascii
    return replace(study, words=words)


def _documents(study: StudyAssessment, wanted: Collection[str]) -> Iterator[Composed]:
    if not measured(study):
        statement = report(study)
        if statement is not None:
            yield STATEMENT, statement
        return
    for kind, form in FORMS.items():
        document = report(study, form) if kind in wanted else None
        if document is not None:
            yield kind, document
    document = plain_report(study) if "plain-report" in wanted else None
    if document is not None:
        yield "plain-report", document


def _objects(
    study: StudyAssessment, series: SeriesAssessment, wanted: Collection[str]
) -> Iterator[Composed]:
    makers = {
        "segmentation": segmentation,
        "parametric-map": parametric_map,
        "presentation": presentation_states,
        "key-objects": key_objects,
    }
    for kind, make in makers.items():
        made = make(study, series) if kind in wanted else None
        if made is not None:
            yield kind, made
