"""Which presentation contexts a node accepts of what we would send it, and what that means.

Results are written in Explicit VR Little Endian, which is turned into Implicit VR on the way where
a node takes no other, and pictures maybe compressed (`results.compression`), which is not turned
into anything. Studies go as they were received (PS3.8 9.3.2.2, PS3.5 10).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydicom.uid import UID

from gatekeeper.results import kinds
from gatekeeper.send import encoding, pdu
from gatekeeper.send.association import Association
from gatekeeper.send.pdu import Context
from gatekeeper.settings import Settings
from gatekeeper.sop_classes import name_of, takes
from gatekeeper.tls import Credentials
from storage.records import Node

_PLAIN = (encoding.EXPLICIT_LITTLE, encoding.IMPLICIT_LITTLE)
COMPRESSED = {
    "rle": "1.2.840.10008.1.2.5",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
}
"""Setting ``results.compression`` -> transfer syntax of pictures."""
_PICTURES = frozenset({"montage", "heatmap"})
USUAL_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
)
"""MR, Enhanced MR, CT, Enhanced CT, CR, DX: asked about before anything was received."""


@dataclass(frozen=True, slots=True)
class ClassAnswer:
    """What a node takes of one SOP class.

    Attributes:
        sop_class_uid: the class.
        proposed: transfer syntaxes that were proposed.
        accepted: those that it takes.
        kinds: kinds of result that are of this class; empty for a class that is received.
        needed: transfer syntaxes of which one must be accepted, for all of it to be sent.
    """

    sop_class_uid: str
    proposed: tuple[str, ...]
    accepted: tuple[str, ...]
    kinds: tuple[str, ...]
    needed: tuple[tuple[str, ...], ...]

    @property
    def ok(self) -> bool:
        """Whether everything that we would send of the class can be sent."""
        return all(any(one in self.accepted for one in choice) for choice in self.needed)

    @property
    def meaning(self) -> str:
        """What it means for the results and studies that we would send, in one sentence."""
        name = name_of(self.sop_class_uid)
        what = " and ".join(self.kinds) if self.kinds else f"studies with {name}"
        if self.ok:
            return f"{what}: can be delivered"
        if not self.accepted:
            return f"no context for {name}: {what} cannot be delivered"
        missing = [choice for choice in self.needed if not set(choice) & set(self.accepted)]
        syntaxes = ", ".join(UID(choice[0]).name for choice in missing)
        return f"{name} is not taken in {syntaxes}: {what} in it cannot be delivered"


def wanted(
    node: Node, received: Iterable[tuple[str, str]], compression: str
) -> dict[str, dict[tuple[str, ...], tuple[str, ...]]]:
    """Return what we would send: SOP class -> choices of transfer syntax -> kinds of result.

    Args:
        node: its kinds of result, and the classes that it takes of received studies.
        received: SOP class and transfer syntax of what was received; empty for the usual ones.
        compression: setting ``results.compression``.
    """
    found: dict[str, dict[tuple[str, ...], tuple[str, ...]]] = {}
    if node.receives_results:
        for kind in kinds.taken(node.objects):
            packed = COMPRESSED.get(compression) if kind in _PICTURES else None
            choice = _PLAIN if packed is None else (packed,)
            of_class = found.setdefault(kinds.CLASSES[kind], {})
            of_class[choice] = (*of_class.get(choice, ()), kind)
    images = sorted(received) or [(uid, encoding.EXPLICIT_LITTLE) for uid in USUAL_IMAGES]
    for uid, syntax in images:
        if takes(node.sop_classes, uid):
            other = encoding.alternative(syntax)
            choice = (syntax,) if other is None else (syntax, other)
            found.setdefault(uid, {}).setdefault(choice, ())
    return found


def ask(
    node: Node,
    sent: Mapping[str, Mapping[tuple[str, ...], tuple[str, ...]]],
    settings: Settings,
) -> list[ClassAnswer]:
    """Return what `node` takes of each class, results first, by as many associations as it needs.

    Raises:
        TransportError: if it cannot be reached or rejects the association.
    """
    contexts = [
        (uid, syntax)
        for uid, choices in sent.items()
        for syntax in dict.fromkeys((*_PLAIN, *(one for choice in choices for one in choice)))
    ]
    accepted = _accepted(node, contexts, settings)
    return [
        ClassAnswer(
            sop_class_uid=uid,
            proposed=tuple(syntax for one, syntax in contexts if one == uid),
            accepted=tuple(syntax for one, syntax in accepted if one == uid),
            kinds=tuple(dict.fromkeys(kind for kinds in choices.values() for kind in kinds)),
            needed=tuple(choices),
        )
        for uid, choices in sent.items()
    ]


def _accepted(node: Node, contexts: Sequence[Context], settings: Settings) -> list[Context]:
    found: list[Context] = []
    for start in range(0, len(contexts), pdu.MAXIMUM_CONTEXTS):
        with Association.request(
            node,
            settings.listen.ae_title,
            contexts[start : start + pdu.MAXIMUM_CONTEXTS],
            settings.send,
            credentials=Credentials(settings.tls),
        ) as association:
            found += association.accepted
    return found
