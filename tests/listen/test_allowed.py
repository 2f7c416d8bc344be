"""SOP classes that a calling node may send: negotiated for it, and no others."""

from __future__ import annotations

import structlog
from listen.wire import CT, EXPLICIT, MR, SCANNER, VERIFICATION, Listening, associated, sqlite_only

from storage import nodes
from storage.records import Node, Retrieve, Role

CONTEXTS = ((MR, (EXPLICIT,)), (CT, (EXPLICIT,)), (VERIFICATION, (EXPLICIT,)))


def accepted(port: int, calling: str = SCANNER) -> set[str]:
    with associated(port, CONTEXTS, calling=calling) as association:
        return {str(one.abstract_syntax) for one in association.accepted_contexts}


@sqlite_only
def test_contexts_of_other_classes_are_rejected_and_an_event_names_them(
    listening: Listening,
) -> None:
    """At the next association, without a restart; a node without a list sends everything."""
    assert accepted(listening.port) == {MR, CT, VERIFICATION}
    with listening.database.begin() as tx:
        nodes.save(tx, Node(SCANNER, "127.0.0.1", 0, may_send=True, sop_classes=("MR",)))

    with structlog.testing.capture_logs() as events:
        assert accepted(listening.port) == {MR, VERIFICATION}

    [event] = [one for one in events if one["event"] == "contexts_refused"]
    assert (event["calling_ae"], event["sop_class"], event["count"]) == (SCANNER, CT, 1)


@sqlite_only
def test_an_archive_that_brings_priors_may_call_and_store(listening: Listening) -> None:
    """One that we fetch from by C-GET calls us for nothing."""
    archive = Node("PACS", "127.0.0.1", 104, roles=(Role.ARCHIVE,), retrieve=Retrieve.MOVE)
    with listening.database.begin() as tx:
        nodes.save(tx, archive)
    assert accepted(listening.port, "PACS") == {MR, CT, VERIFICATION}

    with listening.database.begin() as tx:
        nodes.save(tx, Node("PACS", "127.0.0.1", 104, roles=(Role.ARCHIVE,)))
    assert accepted(listening.port, "PACS") == set()
