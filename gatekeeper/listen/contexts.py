"""What the listener negotiates: SOP classes and transfer syntaxes.

Everything that may hold part of a patient's study is taken, in every encoding, because what is
not negotiated is lost on the way: retired classes that old archives still send, SR, raw data,
and the private classes a site configures. Left out are classes that are no part of any study
(PS3.4 GG, non-patient objects: hanging protocols, implant templates, protocols, inventories),
and transfer syntaxes that are no data set in a file (MIME, XML, SMPTE ST 2110 streams).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pydicom._uid_dict import UID_dictionary
from pynetdicom.presentation import (
    AllStoragePresentationContexts,
    PresentationContext,
    build_context,
)
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import (
    Verification,  # pyright: ignore[reportAttributeAccessIssue] - made at import
    register_uid,
    uid_to_service_class,
)

from gatekeeper.commitment import PUSH_MODEL
from gatekeeper.listen import commitment
from gatekeeper.listen.headers import DEFLATED

CSA_NON_IMAGE = "1.3.12.2.1107.5.9.1"
"""Siemens CSA Non-Image Storage: PhoenixZIPReport and spectroscopy beside most Siemens series."""

_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_STORAGE_ELSEWHERE = (
    "1.2.840.10008.5.1.1.27",  # Stored Print Storage (retired)
    "1.2.840.10008.5.1.1.29",  # Hardcopy Grayscale Image Storage (retired)
    "1.2.840.10008.5.1.1.30",  # Hardcopy Color Image Storage (retired)
    "1.2.840.10008.5.1.4.34.1",  # RT Beams Delivery Instruction Storage - Trial (retired)
)
_NON_PATIENT = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol Storage
        "1.2.840.10008.5.1.4.1.1.200.3",  # Protocol Approval Storage
        "1.2.840.10008.5.1.4.1.1.200.7",  # XA Defined Procedure Protocol Storage
        "1.2.840.10008.5.1.4.1.1.201.1",  # Inventory Storage
    }
)

# Where a sender offers several in one context we choose the first of these: the encodings that
# keep private VRs, then lossless, then whatever the object is already in.
_PREFERRED = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless SV1
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.201",  # HTJ2K Lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K Lossless RPCL
    "1.2.840.10008.1.2.5",  # RLE Lossless
)
_NO_DATA_SET = frozenset(
    {
        "1.2.840.10008.1.2.6.1",  # RFC 2557 MIME encapsulation
        "1.2.840.10008.1.2.6.2",  # XML Encoding
        "1.2.840.10008.1.2.7.1",  # SMPTE ST 2110-20
        "1.2.840.10008.1.2.7.2",  # SMPTE ST 2110-20
        "1.2.840.10008.1.2.7.3",  # SMPTE ST 2110-30
        "1.2.840.10008.1.20",  # Papyrus 3 Implicit VR Little Endian
    }
)


class SharedContexts(list[PresentationContext]):
    """Contexts that every association shares.

    pynetdicom copies the list deeply for each association, 6 to 8 ms, although negotiation only
    reads it.
    """

    def __deepcopy__(self, _memo: dict[int, object]) -> SharedContexts:
        return self


def storage_classes(private: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the SOP Class UIDs taken with C-STORE, sorted."""
    standard = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    listed = {
        uid
        for uid, (name, kind, *_rest) in UID_dictionary.items()
        if kind == "SOP Class"
        and uid.startswith(_STORAGE_ROOT)
        # Two retired storage classes have lost their names in the standard.
        and (not name or "Storage" in name)
    }
    chosen = (standard | listed) - _NON_PATIENT
    return tuple(sorted(chosen | {*_STORAGE_ELSEWHERE, CSA_NON_IMAGE, *private}))


def transfer_syntaxes(*, accept_deflated: bool = False) -> tuple[str, ...]:
    """Return the transfer syntaxes taken, in order of preference."""
    listed = {
        uid for uid, (_name, kind, *_rest) in UID_dictionary.items() if kind == "Transfer Syntax"
    }
    listed -= _NO_DATA_SET
    if not accept_deflated:
        listed -= DEFLATED
    return (*_PREFERRED, *sorted(listed - set(_PREFERRED)))


def without_storage(contexts: Iterable[PresentationContext]) -> SharedContexts:
    """Return the contexts for a peer that stores nothing: verification and commitment."""
    return only_storage(contexts, frozenset())


def only_storage(
    contexts: Iterable[PresentationContext], allowed: Collection[str]
) -> SharedContexts:
    """Return the contexts for a peer that may store these SOP classes and no others."""
    kept = {str(Verification), PUSH_MODEL, *allowed}
    return SharedContexts(one for one in contexts if str(one.abstract_syntax) in kept)


def supported_contexts(
    private: Iterable[str] = (), *, accept_deflated: bool = False
) -> SharedContexts:
    """Return the presentation contexts of the listener: verification, storage and commitment.

    Classes that pynetdicom does not know as storage are registered with it, for the process.
    """
    syntaxes = list(transfer_syntaxes(accept_deflated=accept_deflated))
    contexts = SharedContexts([build_context(Verification, syntaxes[:2]), commitment.context()])
    for uid in storage_classes(private):
        if uid_to_service_class(uid) is not StorageServiceClass:
            register_uid(uid, "GatekeeperStorage_" + uid.replace(".", "_"), StorageServiceClass)
        contexts.append(build_context(uid, syntaxes))
    return contexts
