"""What the listener negotiates."""

from __future__ import annotations

from copy import deepcopy

from listen.wire import DEFLATED, EXPLICIT, IMPLICIT, MR, VERIFICATION
from pydicom._uid_dict import UID_dictionary
from pynetdicom import ALL_TRANSFER_SYNTAXES
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from gatekeeper.commitment import PUSH_MODEL
from gatekeeper.listen.contexts import (
    CSA_NON_IMAGE,
    storage_classes,
    supported_contexts,
    transfer_syntaxes,
)

PRIVATE = "1.3.46.670589.11.0.0.12.1"


def test_every_storage_class_of_a_study_is_taken() -> None:
    """All that pynetdicom knows, the retired ones, CSA Non-Image, and the configured ones."""
    classes = set(storage_classes([PRIVATE]))

    assert {str(context.abstract_syntax) for context in AllStoragePresentationContexts} <= classes
    retired_ultrasound, retired_nuclear_medicine = (
        "1.2.840.10008.5.1.4.1.1.6",
        "1.2.840.10008.5.1.4.1.1.5",
    )
    assert {retired_ultrasound, retired_nuclear_medicine, CSA_NON_IMAGE, PRIVATE} <= classes
    left_out = {
        uid: name
        for uid, (name, kind, *_rest) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name and uid not in classes
    }
    assert set(left_out.values()) == {
        "CT Defined Procedure Protocol Storage",
        "XA Defined Procedure Protocol Storage",
        "Protocol Approval Storage",
        "Inventory Storage",
        "Hanging Protocol Storage",
        "Color Palette Storage",
        "Generic Implant Template Storage",
        "Implant Assembly Template Storage",
        "Implant Template Group Storage",
        "Media Storage Directory Storage",
        "Storage Commitment Push Model SOP Class",
        "Storage Commitment Pull Model SOP Class",
    }


def test_every_class_is_served_as_storage() -> None:
    """pynetdicom would abort the association for a class that it does not know."""
    contexts = supported_contexts([PRIVATE])

    served = {str(context.abstract_syntax) for context in contexts} - {VERIFICATION, PUSH_MODEL}
    assert served == set(storage_classes([PRIVATE]))
    assert all(uid_to_service_class(uid) is StorageServiceClass for uid in served)


def test_every_transfer_syntax_is_taken_and_deflated_only_when_asked() -> None:
    """All that pynetdicom knows but the streams of SMPTE ST 2110; deflated ones have no bound."""
    smpte = {syntax for syntax in map(str, ALL_TRANSFER_SYNTAXES) if ".1.2.7." in syntax}
    deflated = {DEFLATED, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
    everything = {str(syntax) for syntax in ALL_TRANSFER_SYNTAXES} - smpte

    assert everything - deflated <= set(transfer_syntaxes())
    assert deflated.isdisjoint(transfer_syntaxes())
    assert everything <= set(transfer_syntaxes(accept_deflated=True))
    assert transfer_syntaxes()[:2] == (EXPLICIT, IMPLICIT)
    mr = next(context for context in supported_contexts() if context.abstract_syntax == MR)
    assert set(transfer_syntaxes()) == set(map(str, mr.transfer_syntax))


def test_associations_share_the_contexts() -> None:
    """pynetdicom's copy for each association would cost 6 to 8 ms."""
    contexts = supported_contexts()

    assert deepcopy(contexts) is contexts
