"""The content of a study as one digest: the same set gives the same digest, in any order."""

from __future__ import annotations

from collections.abc import Iterable

from storage.records import Instance
from storage.spool import Digest


def content_digest(instances: Iterable[Instance]) -> Digest:
    """Return the digest of a study's own content.

    It is the SHA-256 of the sorted, distinct pairs of SOP Instance UID and file digest. Own
    results that came back are left out, and so is what was fetched as part of a prior study: they
    must not make a study new.
    """
    pairs = {
        (item.sop_instance_uid, item.digest)
        for item in instances
        if not (item.own_result or item.prior)
    }
    return Digest.of("".join(f"{uid}\0{digest}\n" for uid, digest in sorted(pairs)).encode())
