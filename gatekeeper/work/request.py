"""What the child is asked for a job: the files of its study, the limits, and the results wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gatekeeper.configuration.judging import Judging
from gatekeeper.results.earlier import EarlierReport
from gatekeeper.settings import WorkSettings
from gatekeeper.work.clinical_request import ClinicalRequest
from gatekeeper.work.destinations import wanted
from gatekeeper.work.lesion_request import lesions_asked
from gatekeeper.work.messages import ReceivedFile, Request
from storage.records import Instance, Job, Node
from storage.spool import Spool

BASE_MIB = 1280
"""Memory of the child before any volume: libraries and models."""
BYTES_PER_VOXEL = 16
"""Memory that a voxel takes in the child: volume, map and two working copies, float32 each."""


def voxels_allowed(work: WorkSettings) -> int:
    """Return the voxels that one study may have: `maximum_voxels`, or what the memory holds."""
    room = max(0, work.memory_mib - BASE_MIB) << 20
    return min(work.maximum_voxels, room // BYTES_PER_VOXEL)


def request_for(
    job: Job,
    content: Sequence[Instance],
    spool: Spool,
    scratch: Path,
    judged_by: Judging,
    known: Sequence[Node],
    earlier: tuple[EarlierReport, ...],
    clinical: ClinicalRequest | None = None,
) -> Request:
    """Return the request of this attempt at a job.

    Args:
        job: as claimed.
        content: instances of its study.
        spool: with their files.
        scratch: folder for what the child writes.
        judged_by: the settings with the policy over them, and the models, at this moment.
        known: every node; those that take results decide what is made.
        earlier: reports on the study before.
        clinical: what is known of the patient; None where no bundle asks.
    """
    settings, choice = judged_by.settings, judged_by.choice
    work = settings.work
    folder, catalogues = settings.models.directory, settings.results.catalogues
    return Request(
        job=job.id,
        attempt=job.attempt,
        study_instance_uid=job.study_instance_uid,
        content_digest=job.content_digest,
        model_digest=job.model_digest,
        revision=job.revision,
        created_at=job.created_at,
        files=tuple(
            ReceivedFile(
                sop_instance_uid=item.sop_instance_uid,
                sop_class_uid=item.sop_class_uid,
                series_instance_uid=item.series_instance_uid,
                transfer_syntax_uid=item.transfer_syntax_uid,
                digest=item.digest,
                path=str(spool.path(item.digest).absolute()),
            )
            for item in content
        ),
        scratch=str(scratch.absolute()),
        bundles=(str(Path(folder).absolute()),) if folder else (),
        device=work.device,
        threads=work.threads,
        maximum_voxels=voxels_allowed(work),
        maximum_series=work.maximum_series,
        cpu_seconds=work.cpu_seconds,
        false_hold_rate=settings.models.false_hold_rate,
        reference_stands_in=settings.models.reference_stands_in,
        ae_title=settings.listen.ae_title,
        institution=settings.results.institution,
        heatmap_margin=settings.results.flagged_margin,
        series_number=settings.results.series_number,
        objects=wanted(known, catalogues),
        catalogues=catalogues and str(Path(catalogues).absolute()),
        compression=settings.results.compression,
        earlier=earlier,
        false_hold_rates=judged_by.false_hold_rates,
        choice=None if choice is None else {str(key): name for key, name in choice.items()},
        models=job.instructions.get("models", {}),
        skipped=job.instructions.get("skipped", {}),
        clinical=clinical,
        lesions=lesions_asked(settings),
    )
