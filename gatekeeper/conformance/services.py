"""Service and interoperability description: chapter 4, what each AE takes part in, and how."""

from __future__ import annotations

import functools
import re

from pydicom.datadict import dictionary_description
from pydicom.uid import UID
from pynetdicom import sop_class
from pynetdicom.presentation import AllStoragePresentationContexts

from gatekeeper.commitment import PUSH_MODEL
from gatekeeper.conformance.document import Code, Section, Steps, Table
from gatekeeper.conformance.overview import LISTENER, NO, SENDER, WEB, YES
from gatekeeper.conformance.site import Site
from gatekeeper.conformance.web_services import web
from gatekeeper.elements import Element
from gatekeeper.listen.contexts import CSA_NON_IMAGE
from gatekeeper.results import kinds
from gatekeeper.send import query, retrieve
from gatekeeper.send.contexts import COMPRESSED
from gatekeeper.send.dimse import VERIFICATION

_CLASSES = frozenset(context.abstract_syntax for context in AllStoragePresentationContexts)
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
AS_RECEIVED = "as received"
CREATED = "created here"
RECEIVED_SYNTAXES = "Transfer syntaxes of stored objects"
STORAGE = "SOP classes of storage"
OTHERS = "Other SOP classes"
CREATED_OBJECTS = "Objects created and the nodes that take them"


def services(site: Site) -> Section:
    """Return the chapter."""
    return Section(
        "Service and interoperability description",
        parts=(
            Section(
                "SOP classes and roles",
                (
                    (
                        f"As SCP (the {LISTENER}) every class of the table is taken, unless a "
                        "node's own entry in chapter 5 narrows it. As SCU (the Sender) objects go "
                        "to the nodes that take them: those created here, and those received, "
                        "unchanged."
                    ),
                    storage_table(site),
                    others_table(),
                ),
            ),
            Section("Transfer syntaxes", _syntaxes(site)),
            Section("Storage", _storage(site)),
            Section("Storage commitment", _commitment(site)),
            Section("Query and retrieve: priors and confirmation", _query(site)),
            web(site),
        ),
    )


def storage_table(site: Site) -> Table:
    """Return every storage class with our roles."""
    created = set(kinds.CLASSES.values())
    return Table(
        STORAGE,
        ("SOP class", "SOP class UID", "SCU", "SCP"),
        tuple(
            (
                named(uid),
                Code(uid),
                f"{CREATED}; {AS_RECEIVED}" if uid in created else AS_RECEIVED,
                YES,
            )
            for uid in site.storage
        ),
    )


def others_table() -> Table:
    """Return the classes that are no storage."""
    both = "Explicit and Implicit VR Little Endian"
    return Table(
        OTHERS,
        ("SOP class", "SOP class UID", "SCU", "SCP", "AE", "Transfer syntaxes"),
        tuple(
            (named(uid), Code(uid), scu, scp, entity, syntaxes)
            for uid, scu, scp, entity, syntaxes in (
                (VERIFICATION, NO, YES, LISTENER, both),
                (VERIFICATION, YES, NO, SENDER, "Implicit VR Little Endian"),
                (PUSH_MODEL, "for reports on our own requests", YES, LISTENER, both),
                (PUSH_MODEL, YES, "for reports on a new association", SENDER, both),
                (query.STUDY_ROOT_FIND, YES, NO, SENDER, both),
                (retrieve.STUDY_ROOT_GET, YES, NO, SENDER, both),
                (retrieve.STUDY_ROOT_MOVE, YES, NO, SENDER, both),
            )
        ),
    )


def named(uid: str) -> str:
    """Return a UID's name in PS3.6; for a private one, that it is."""
    if uid == CSA_NON_IMAGE:
        return "Siemens CSA Non-Image Storage (private)"
    known = UID(uid)
    if known.is_private:
        return "private class"
    name = _later_names().get(uid, "") if known.name == uid else known.name
    # Two retired storage classes have lost their names in the standard.
    return name.removesuffix(" SOP Class") or "retired class without a name"


@functools.cache
def _later_names() -> dict[str, str]:
    """Return the names of classes that are newer than the dictionary of UIDs."""
    keywords = {
        str(uid): keyword
        for keyword, uid in vars(sop_class).items()
        if isinstance(uid, UID) and uid in _CLASSES
    }
    return {uid: _CAPITAL.sub(" ", keyword) for uid, keyword in keywords.items()}


def _syntaxes(site: Site) -> tuple[str | Table | Steps, ...]:
    compression = COMPRESSED.get(site.settings.results.compression)
    packed = "uncompressed" if compression is None else f"in {named(compression)}"
    return (
        (
            f"The {LISTENER} takes each storage class in all of these. Of several in one "
            "presentation context it chooses the first of this order. The data set is kept as it "
            "was sent."
        ),
        Table(
            RECEIVED_SYNTAXES,
            ("Preference", "Transfer syntax", "UID"),
            tuple(
                (str(place), named(uid), Code(uid))
                for place, uid in enumerate(site.syntaxes, start=1)
            ),
        ),
        (
            f"The {SENDER} proposes one transfer syntax in each presentation context. Received "
            "objects go out in the transfer syntax that they came in; of Explicit VR Little "
            "Endian, Implicit VR Little Endian is proposed as well, and used where a node takes "
            "no other: only the headers of elements are then rewritten. Objects created here are "
            f"{packed} where they are pictures, and Explicit (else Implicit) VR Little Endian "
            "where they are not. Nothing else is transcoded, and nothing is decompressed."
        ),
    )


def _storage(site: Site) -> tuple[str | Table | Steps, ...]:
    listen = site.settings.listen
    return (
        (
            "As SCP: level 2 (full), with no elements discarded and none coerced. Success (0000) "
            "means that the file has been flushed to disk and its record committed. The answer "
            "never depends on the analysis."
        ),
        Steps(
            (
                (
                    "The same instance with the same content is kept once and answered with "
                    "success. Another content under a known SOP Instance UID is kept beside the "
                    "first and reported; neither replaces the other."
                ),
                (
                    "UIDs of up to 64 letters, digits, dots, dashes and underscores are carried as "
                    "sent; anything else is refused with C000."
                ),
                (
                    "Study, Series and SOP Instance UID and SOP Class UID must be in the data set, "
                    "within its first 4 MiB."
                ),
                f"An object of up to {listen.maximum_object_mib} MiB is taken.",
                (
                    "Digital signatures are preserved with every bit (level 3); they are neither "
                    "verified nor made. No attribute is coerced; File Meta Information is written "
                    "anew."
                ),
                (
                    "Objects that carry Gatekeeper's marks are known as its own results: they are "
                    "stored, and never analysed."
                ),
            )
        ),
        (
            "As SCU: each object's response is recorded by itself. What becomes of an object after "
            "each status stands in chapter 6."
        ),
        Table(
            CREATED_OBJECTS,
            ("Kind", "What it is", "SOP class", "Taken here by"),
            tuple(
                (
                    Code(kind),
                    kinds.KINDS.get(kind, "why no series was assessed"),
                    named(uid),
                    ", ".join(
                        node.ae_title
                        for node in site.nodes
                        if node.receives_results and kind in kinds.taken(node.objects)
                    )
                    or NO,
                )
                for kind, uid in kinds.CLASSES.items()
            ),
        ),
    )


def _commitment(site: Site) -> tuple[str | Table | Steps, ...]:
    limits = site.settings.commitment
    checked = "size and SHA-256 are checked" if limits.check_digest else "size is checked"
    return (
        "As SCP. A node that may send may ask for commitment of any instance.",
        Steps(
            (
                (
                    f"N-ACTION with up to {limits.maximum_references} references is put on record "
                    "before it is answered with success."
                ),
                (
                    "An instance is committed to when its record is here under the same SOP class "
                    f"and its file is in the spool: its {checked}."
                ),
                "The report is tried on the association of the request once that has been silent "
                f"for {limits.same_association_seconds:g} s."
                if limits.same_association_seconds
                else "The report is sent on a new association only.",
                (
                    "Otherwise a new association to the node is opened, on which Gatekeeper "
                    "proposes itself as SCP by role selection; that is tried up to "
                    f"{limits.maximum_attempts} times, with growing delays."
                ),
                (
                    "What was committed to is not removed by retention, unless another node has "
                    "committed to the same instance."
                ),
            ),
            ordered=True,
        ),
        "As SCU, of nodes that are entered to confirm by storage commitment.",
        Steps(
            (
                "N-ACTION with a new Transaction UID for what was answered as stored.",
                (
                    f"The report is awaited for {limits.wait_seconds:g} s on that association, and "
                    f"taken later by the {LISTENER}, for which the node may call without being "
                    "allowed to send."
                ),
                (
                    "An instance that is not reported as kept, or not mentioned, counts as not "
                    f"kept: it is sent again, up to {limits.resends} times."
                ),
                (
                    f"Without a report the node is asked anew after {limits.ask_again_seconds:g} "
                    f"s, {limits.questions} times in all. A new Transaction UID is used each time."
                ),
            ),
            ordered=True,
        ),
    )


def _query(site: Site) -> tuple[str | Table | Steps, ...]:
    return (
        (
            "As SCU of the Study Root information model alone. Gatekeeper answers no queries by "
            f"C-FIND; the {WEB} answers QIDO-RS. Relational queries, date-time matching and fuzzy "
            "matching are neither negotiated nor used."
        ),
        key_table(),
        Steps(
            (
                (
                    "Priors: the studies of the same Patient ID until the study's date are asked "
                    "for at STUDY level. Those of another issuer, of the same study, or without "
                    "the modality that the rule names are left out; the newest are chosen."
                ),
                (
                    "The content of each chosen study is asked for at SERIES and IMAGE level; "
                    "what is not here yet is fetched."
                ),
                (
                    "By C-GET the node stores on the same association, where Gatekeeper is SCP of "
                    "the study's storage classes by role selection. By C-MOVE the move "
                    f"destination is {site.ae_title}, which the node has to know by address and "
                    "port."
                ),
                (
                    "A prior counts as received when every instance that the node named is here, "
                    "on disk and on record; it is never analysed."
                ),
                (
                    "Confirmation: of nodes entered to confirm by C-FIND, the instances of each "
                    "delivered series are asked for at IMAGE level. gatekeeper reconcile asks the "
                    "same."
                ),
            )
        ),
        Table(
            "Transfer syntaxes proposed for retrieval by C-GET",
            ("Preference", "Transfer syntax", "UID"),
            tuple(
                (str(place), named(uid), Code(uid))
                for place, uid in enumerate(retrieve.TRANSFER_SYNTAXES, start=1)
            ),
        ),
        "As many of them are proposed for each class as 128 presentation contexts have room for.",
    )


def key_table() -> Table:
    """Return the keys of every query that is asked."""
    example = query.PatientKey(b"ID", b"ISO_IR 100", "20260101")
    return Table(
        "Keys of queries (C-FIND)",
        ("Level", "Attribute", "Tag", "VR", "Use"),
        tuple(
            (level, dictionary_description(key.tag), Code(tag_text(key.tag)), key.vr, use)
            for level, keys in (
                ("STUDY", query.study_keys(example)),
                ("SERIES", query.series_keys("1")),
                ("IMAGE", query.image_keys("1", "1")),
            )
            for key in keys
            if (use := _use(key))
        ),
    )


def tag_text(tag: int) -> str:
    """Return a tag as the standard writes it."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _use(key: Element) -> str:
    value = key.value
    if not value:
        return "returned"
    if key.vr == "DA":
        return "matched: range"
    if key.tag == query.LEVEL:
        return "the level"
    if key.tag == query.CHARACTER_SET:
        return "stated, where the Patient ID is not ASCII"
    return "matched: single value"
