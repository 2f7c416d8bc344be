"""Key objects: which images to look at, marked so that a viewer can jump to them.

One Key Object Selection (PS3.3 A.35.4, PS3.16 TID 2010) 'Of Interest' for each assessed series: its
montage first, then each key slice (those that the report cites) followed by its heatmap, where that
is made. A source slice is cited with the presentation state that draws the regions on it, where
there is one.

Montage and presentation state are cited only when they are given: what is cited must be sent too.
"""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.uid import UID, KeyObjectSelectionDocumentStorage, SecondaryCaptureImageStorage

from gatekeeper.results import codes, uids
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.capture import heatmap_slices
from gatekeeper.results.common import (
    complete,
    first_header,
    new_object,
    place_of,
    reference_to,
)
from gatekeeper.results.document import evidence_of, observation_context, separate, text
from gatekeeper.results.measurements import key_slices
from gatekeeper.results.sentences import answer, series_title
from gatekeeper.results.texts import Text

SERIES_OFFSET = 60
"""What is added to the report's SeriesNumber."""


def key_objects(
    study: StudyAssessment,
    series: SeriesAssessment,
    montage: Dataset | None = None,
    presentation: Dataset | None = None,
) -> Dataset | None:
    """Return the key object selection of one series, Explicit VR Little Endian.

    Args:
        study: the job's answer, of which `series` is a part.
        series: an assessed series.
        montage: its montage, if there is one.
        presentation: its presentation state, if there is one.

    Returns:
        None when it has no finding.
    """
    if series.finding is None or not series.source.slices:
        return None
    title = series_title(series, study.words)
    heatmaps = uids.heatmap_series(study, series)
    target = new_object(
        study,
        first_header(series),
        KeyObjectSelectionDocumentStorage,
        uids.key_object_series(study),
        study.series_number + SERIES_OFFSET,
        study.words.say(Text.KEY_OBJECTS),
        (title,),
    )
    target.Modality = "KO"
    target.ReferencedPerformedProcedureStepSequence = []
    cited: list[tuple[str, Dataset]] = []
    items: list[hd.sr.ContentItem] = []
    bare: list[str] = []
    if montage is not None:
        cited.append((str(montage.SeriesInstanceUID), montage))
        items.append(_image(montage))
    drawn = set(heatmap_slices(study, series))
    for index in key_slices(series):
        part = series.source.slices[index]
        uid = uids.heatmap_instance(heatmaps, str(part.header.SOPInstanceUID), part.frame)
        heatmap = Dataset()
        heatmap.SOPClassUID = SecondaryCaptureImageStorage
        heatmap.SOPInstanceUID = UID(uid)
        cited.append((series.source.series_instance_uid, part.header))
        items.append(_image(part.header, part.frame, presentation))
        if index in drawn:
            cited.append((heatmaps, heatmap))
            items.append(_image(heatmap))
        else:
            bare.append(str(part.header.SOPInstanceUID))
    if presentation is not None:
        cited.append((str(presentation.SeriesInstanceUID), presentation))
    target.CurrentRequestedProcedureEvidenceSequence = [evidence_of(study, cited)]
    target.update(_selection(study, _description(study, series), items))
    given = [str(one.SOPInstanceUID) for one in (montage, presentation) if one is not None]
    uid = uids.key_object_instance(study, series, [*given, *bare])
    return complete(target, uid, place_of(study, series) + 1)


def _image(
    instance: Dataset, frame: int | None = None, presentation: Dataset | None = None
) -> hd.sr.ImageContentItem:
    """Return a reference to an image, with the presentation state to show it with."""
    item = hd.sr.ImageContentItem(
        codes.SOURCE,
        str(instance.SOPClassUID),
        str(instance.SOPInstanceUID),
        referenced_frame_numbers=None if frame is None else [frame],
        relationship_type="CONTAINS",
    )
    if presentation is not None:
        item.ReferencedSOPSequence[0].ReferencedSOPSequence = [reference_to(presentation)]
    return item


def _selection(
    study: StudyAssessment, description: str, items: Sequence[hd.sr.ContentItem]
) -> Dataset:
    """Return the content tree by TID 2010."""
    root = hd.sr.ContainerContentItem(
        codes.OF_INTEREST, is_content_continuous=False, template_id="2010"
    )
    root.ContentSequence = hd.sr.ContentSequence(
        [*observation_context(study), text(codes.KEY_OBJECT_DESCRIPTION, description), *items]
    )
    for item in items:
        # TID 2010 names no image, but highdicom takes no item without a name.
        del item.ConceptNameCodeSequence
    return separate(root)


def _description(study: StudyAssessment, series: SeriesAssessment) -> str:
    """Return why these images were chosen."""
    words = study.words
    return words.say(
        Text.KEY_OBJECTS_CITED,
        series=series_title(series, words),
        answer=answer(series.judgement, words),
        research=words.say(Text.RESEARCH),
    )
