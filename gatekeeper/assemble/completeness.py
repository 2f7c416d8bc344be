"""When an open study counts as complete.

DICOM has no message that ends a study, so silence decides, under two rules that keep a study from
being declared complete while a series is still on its way: nobody who sent it is still connected,
and nothing has arrived for the quiet time. A study that receives more afterwards opens again and
becomes a revision, so a wrong guess costs a second job and never an image.
"""

from __future__ import annotations

from storage.records import Node
from storage.studies import OpenStudy


def quiet_seconds_of(node: Node | None, default: float) -> float:
    """Return the quiet time of studies from `node`, in seconds; `default` when it has none."""
    if node is None or node.quiet_seconds is None:
        return default
    return node.quiet_seconds


def is_complete(
    open_study: OpenStudy, quiet_seconds: float, patience_seconds: float = float("inf")
) -> bool:
    """Return whether nothing more is expected of `open_study`.

    Args:
        open_study: the study, how long it has been quiet, and how many of the associations that
            sent it are still open.
        quiet_seconds: silence after which it is complete.
        patience_seconds: silence after which it is complete although an association that sent it
            is still open; a router that never hangs up must not hold a study back for ever.
    """
    if open_study.quiet_for < quiet_seconds:
        return False
    return open_study.active_associations == 0 or open_study.quiet_for >= max(
        quiet_seconds, patience_seconds
    )
