"""Which of the listener's presentation contexts a calling node is offered.

A node that calls for its reports alone stores nothing. One whose SOP classes an administrator has
listed stores those and no others: the contexts of the rest are rejected (PS3.8 9.3.3.2, result 3),
so that its operator sees it at once, and an event names them.
"""

from __future__ import annotations

from collections.abc import Iterable

from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from gatekeeper import sop_classes
from gatekeeper.listen.commitment import only_reports
from gatekeeper.listen.contexts import SharedContexts, only_storage, without_storage
from gatekeeper.log import get_logger
from storage.records import Node

_NAMED = 8
"""Refused SOP classes in one event."""

log = get_logger()


def welcome(
    contexts: Iterable[PresentationContext], node: Node, request: A_ASSOCIATE
) -> SharedContexts:
    """Return the contexts that `node` is offered, and tell which it asked for in vain.

    Args:
        contexts: all that the listener supports.
        node: who calls.
        request: what it proposes.
    """
    supported = SharedContexts(contexts)
    if only_reports(node):
        return without_storage(supported)
    allowed = sop_classes.expand(node.sop_classes)
    if allowed is None:
        return supported
    offered = only_storage(supported, allowed)
    left_out = _classes(supported) - _classes(offered)
    refused = sorted(_classes(request.presentation_context_definition_list) & left_out)
    if refused:
        log.warning(
            "contexts_refused",
            calling_ae=node.ae_title,
            count=len(refused),
            reason="SOP classes that the node may not send",
            sop_class=", ".join(refused[:_NAMED]),
        )
    return offered


def _classes(contexts: Iterable[PresentationContext]) -> set[str]:
    return {str(one.abstract_syntax) for one in contexts}
