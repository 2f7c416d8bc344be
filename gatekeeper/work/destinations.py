"""Destinations: what the nodes that receive results take of them, and in which language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gatekeeper.log import get_logger
from gatekeeper.results import kinds
from gatekeeper.results.catalogue import ENGLISH, CatalogueError, read
from storage.records import Node, Result

log = get_logger()


def wanted(known: Sequence[Node], catalogues: str) -> dict[str, tuple[str, ...]]:
    """Return the kinds of result to make in each language; the usual ones when nobody takes any.

    A language whose catalogue is refused is logged and gives way to English: a study without its
    report would be worse than a report in another language.

    Args:
        known: all nodes.
        catalogues: folder of the hospital's own catalogues, may be empty.
    """
    found: dict[str, dict[str, None]] = {}
    usable: dict[str, str] = {}
    for node in _receiving(known):
        if node.language not in usable:
            usable[node.language] = _usable(node.language, catalogues)
        of_language = found.setdefault(usable[node.language], {})
        of_language.update(dict.fromkeys(kinds.taken(node.objects)))
    return {language: tuple(of) for language, of in found.items()} or {ENGLISH: kinds.USUAL}


def taken_of(
    known: Sequence[Node], results: Sequence[Result]
) -> tuple[list[str], dict[str, tuple[str, ...]], dict[str, str]]:
    """Return who gets results, and by AE title of which kinds and in which language.

    The language is the node's own where there are results in it. They may have been made before
    the node was entered or its language changed: then English ones, or those that there are.

    Args:
        known: all nodes.
        results: what was made.
    """
    made = {result.language for result in results}
    others = ENGLISH if ENGLISH in made or not made else min(made)
    receiving = list(_receiving(known))
    return (
        [node.ae_title for node in receiving],
        {node.ae_title: kinds.taken(node.objects) for node in receiving},
        {node.ae_title: node.language if node.language in made else others for node in receiving},
    )


def _receiving(known: Sequence[Node]) -> Iterator[Node]:
    return (node for node in known if node.enabled and node.receives_results)


def _usable(language: str, catalogues: str) -> str:
    try:
        read(language, catalogues)
    except CatalogueError as error:
        log.error("catalogue_refused", reason=str(error))
        return ENGLISH
    return language
