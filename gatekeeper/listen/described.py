"""What a file of the spool is, read back from it: as it was described when it came.

For files that were acknowledged and whose row was not written any more. Everything but the sender
is in the bytes (`file_meta`, `headers`); the sender is on the file (`storage.voucher`).
"""

from __future__ import annotations

from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from gatekeeper.errors import RefusedInstance
from gatekeeper.listen.file_meta import part10_header
from gatekeeper.listen.headers import MAXIMUM_BEGINNING, Identity, identify, identify_beginning
from storage.records import Instance
from storage.voucher import Voucher


def described(path: Path, voucher: Voucher) -> Instance:
    """Return what was recorded, or would have been, of a whole file that came to be analysed.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is none of ours.
    """
    try:
        meta = read_file_meta_info(path)
        syntax = str(meta.TransferSyntaxUID)
        uids = str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID)
    except (InvalidDicomError, AttributeError) as error:
        raise ValueError("a file of the spool without file meta") from error
    with path.open("rb") as content:
        content.seek(len(part10_header(*uids, syntax)))
        beginning = content.read(MAXIMUM_BEGINNING)
        size = content.seek(0, 2)
    try:
        # With all of a large object's beginning there is an answer; a small one is all here.
        identity = identify_beginning(beginning, syntax) or identify(beginning, syntax)
    except RefusedInstance as refusal:
        raise ValueError(refusal.rule) from refusal
    return recorded_of(identity, syntax, voucher.digest, size, voucher.calling_ae)


def recorded_of(
    identity: Identity,
    transfer_syntax_uid: str,
    digest: str,
    size: int,
    calling_ae: str,
    *,
    prior: bool = False,
) -> Instance:
    """Return what is recorded of an instance, when it comes and when it is read back alike."""
    return Instance(
        sop_instance_uid=identity.sop_instance_uid,
        sop_class_uid=identity.sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        modality=identity.modality,
        digest=digest,
        size=size,
        source_ae=calling_ae,
        own_result=identity.own_marks,
        prior=prior,
    )
