"""UIDs of the results, drawn from the job's key: same UID means same bytes.

An archive that gets a changed object under a known UID keeps the old one and answers success. So
everything that shapes an object's bytes is in its UID: what was received (study, content digest,
the source series with the digest of its sorted SOP Instance UIDs), what judged it (models and
calibration), what drew it (the software version and `RENDERER`), what the job says (its creation
time, the settings that are shown and, unless it is the shipped English one, the catalogue of
texts), and of a report which ones it replaces. A second run of one
job repeats every UID; a late slice, a new model or a new job gives new ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gatekeeper import __version__
from gatekeeper.identifiers import Digest, Uid
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.catalogue import english

RENDERER = "4"
"""Raised with every change of what the results look like or say."""

IMPLEMENTATION_CLASS_UID = Uid.derive("gatekeeper", "implementation class")
IMPLEMENTATION_VERSION_NAME = f"GATEKEEPER_{__version__}"[:16]


def report_series(study: StudyAssessment) -> Uid:
    """Return the SeriesInstanceUID of the study's report."""
    return Uid.derive("report series", *_job(study))


def report_instance(study: StudyAssessment) -> Uid:
    """Return the SOPInstanceUID of the study's report."""
    return Uid.derive("report", *_job(study), *_earlier(study))


def heatmap_series(study: StudyAssessment, series: SeriesAssessment) -> Uid:
    """Return the SeriesInstanceUID of the heatmaps of one source series."""
    return Uid.derive("heatmap series", *_job(study), *_source(series))


def heatmap_instance(heatmaps: Uid, slice_uid: str, frame: int | None) -> Uid:
    """Return the SOPInstanceUID of the heatmap of one source slice.

    Args:
        heatmaps: the series of heatmaps that it belongs to.
        slice_uid: SOPInstanceUID of the source slice.
        frame: its 1-based frame number, None for a single-frame instance.
    """
    return Uid.derive("heatmap", heatmaps, slice_uid, "" if frame is None else str(frame))


def tracking(study: StudyAssessment, series: SeriesAssessment, region: int) -> Uid:
    """Return the tracking UID of a region, counted from 1, or of the whole series, 0.

    It is one and the same in every language: what is tracked is the region and not what is said.
    """
    heatmaps = heatmap_series(replace(study, words=english()), series)
    return Uid.derive("tracking", heatmaps, str(region))


def lesion_tracking(study: StudyAssessment, series: SeriesAssessment, number: int) -> Uid:
    """Return the tracking UID of a scored lesion, counted from 1; the same in every language."""
    heatmaps = heatmap_series(replace(study, words=english()), series)
    return Uid.derive("lesion tracking", heatmaps, str(number))


def segmentation_series(study: StudyAssessment, series: SeriesAssessment) -> Uid:
    """Return the SeriesInstanceUID of the segmented regions of one source series."""
    return Uid.derive("segmentation series", *_job(study), *_source(series))


def parametric_map_series(study: StudyAssessment, series: SeriesAssessment) -> Uid:
    """Return the SeriesInstanceUID of the parametric map of one source series."""
    return Uid.derive("parametric map series", *_job(study), *_source(series))


def only_instance(series: Uid) -> Uid:
    """Return the SOPInstanceUID of the one instance of a result's series."""
    return Uid.derive("only instance", series)


def dimension_organization(instance: Uid) -> Uid:
    """Return the DimensionOrganizationUID of a multi-frame result."""
    return Uid.derive("dimension organization", instance)


def device(model_digest: str) -> Uid:
    """Return the DeviceUID: one for each set of models, new when the models change."""
    return Uid.derive("device", model_digest)


def report_instance_as(study: StudyAssessment, form: str) -> Uid:
    """Return the SOPInstanceUID of the study's report in another SR class than the usual one."""
    return Uid.derive("report form", form, *_job(study), *_earlier(study))


def plain_report_series(study: StudyAssessment) -> Uid:
    """Return the SeriesInstanceUID of the report in plain sentences."""
    return Uid.derive("plain report series", *_job(study))


def plain_report_instance(study: StudyAssessment) -> Uid:
    """Return the SOPInstanceUID of the report in plain sentences."""
    return Uid.derive("plain report", *_job(study), *_earlier(study))


def montage_series(study: StudyAssessment) -> Uid:
    """Return the SeriesInstanceUID of the study's montages."""
    return Uid.derive("montage series", *_job(study))


def montage_instance(study: StudyAssessment, series: SeriesAssessment) -> Uid:
    """Return the SOPInstanceUID of the montage of one source series."""
    return Uid.derive("montage", *_job(study), *_source(series))


def presentation_series(study: StudyAssessment) -> Uid:
    """Return the SeriesInstanceUID of the study's presentation states."""
    return Uid.derive("presentation series", *_job(study))


def presentation_instance(study: StudyAssessment, series: SeriesAssessment) -> Uid:
    """Return the SOPInstanceUID of the presentation state of one source series."""
    return Uid.derive("presentation", *_job(study), *_source(series))


def key_object_series(study: StudyAssessment) -> Uid:
    """Return the SeriesInstanceUID of the study's key object selections."""
    return Uid.derive("key object series", *_job(study))


def key_object_instance(
    study: StudyAssessment, series: SeriesAssessment, cited: Iterable[str]
) -> Uid:
    """Return the SOPInstanceUID of the key object selection of one source series.

    Args:
        study: the job's answer.
        series: the source series.
        cited: SOPInstanceUIDs of what it cites.
    """
    return Uid.derive("key objects", *_job(study), *_source(series), *cited)


def _job(study: StudyAssessment) -> tuple[str, ...]:
    return (
        study.study_instance_uid,
        study.content_digest,
        study.model_digest,
        str(study.revision),
        repr(study.created_at),
        repr(study.false_hold_rate),
        study.ae_title,
        study.institution,
        str(study.series_number),
        *(
            f"{series.source.series_instance_uid} {series.false_hold_rate!r}"
            for series in study.series
            if series.false_hold_rate is not None
        ),
        *(() if study.reference_stands_in else ("own calibrations only",)),
        *(
            f"{series.source.series_instance_uid} lesions {series.lesions.bundle_digest}"
            for series in study.series
            if series.lesions is not None
        ),
        *study.lesion_problems,
        __version__,
        RENDERER,
        *study.words.identity,
    )


def _earlier(study: StudyAssessment) -> tuple[str, ...]:
    return tuple(one.sop_instance_uid for one in study.earlier)


def _source(series: SeriesAssessment) -> tuple[str, ...]:
    instances = sorted(str(header.SOPInstanceUID) for header in series.source.headers)
    finding = series.finding
    return (
        series.source.series_instance_uid,
        Digest.of("\n".join(instances).encode()),
        finding.model_digest if finding else "",
        finding.calibration_digest if finding else "",
    )
