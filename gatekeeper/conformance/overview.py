"""Overview, introduction and implementation model: chapters 1 to 3 of the statement."""

from __future__ import annotations

import gatekeeper
from gatekeeper.conformance.document import Code, Section, Steps, Table
from gatekeeper.conformance.site import Site
from gatekeeper.results import kinds
from storage.records import Confirm, Retrieve

LISTENER, SENDER, WEB = "Listener", "Sender", "Web service"
YES, NO = "yes", "–"

NOTICE = (
    "Written by the program from its running configuration and its own tables. Research software: "
    "not a medical device, and not for diagnostic use."
)


def overview(site: Site) -> Section:
    """Return what is supported, in tables."""
    return Section(
        "Overview",
        (
            (
                f"Gatekeeper {gatekeeper.__version__} is a DICOM node between imaging devices and "
                "what works with their studies. It keeps what it is sent, byte for byte; scores "
                "how far each study departs from a reference population; stores the answer into "
                "the same study as pictures and structured reports; and forwards studies to "
                "downstream nodes once they may pass."
            ),
            (
                "Whether a service is in use here follows from the configuration at the time of "
                "writing; what is not in use can be put to use by configuration alone."
            ),
            networking(site),
            web_services(site),
            Table(
                "Media services",
                ("Media storage application profile", "Write files (FSC)", "Read files (FSR)"),
                (("none: no media are written or read", NO, NO),),
            ),
        ),
    )


def networking(site: Site) -> Table:
    """Return the table of DIMSE services."""
    stored = f"{len(site.storage)} classes, see chapter 4"
    commitment = bool(site.confirming(Confirm.COMMITMENT))
    asks = bool(site.confirming(Confirm.FIND) or site.asked)
    return Table(
        "DIMSE services",
        ("Service", "SOP classes", "SCU", "SCP", "In use here"),
        (
            ("Verification", "Verification", YES, YES, _use(True, True)),
            (
                "Storage, received objects",
                stored,
                YES,
                YES,
                _use(bool(_studies_to(site)), bool(site.callers)),
            ),
            (
                "Storage, objects created here",
                f"{len(set(kinds.CLASSES.values()))} classes, see annex A",
                YES,
                YES,
                _use(bool(site.created), bool(site.callers)),
            ),
            (
                "Storage commitment",
                "Storage Commitment Push Model",
                YES,
                YES,
                _use(commitment, bool(site.callers)),
            ),
            ("Query", "Study Root Query/Retrieve - FIND", YES, NO, _use(asks, False)),
            (
                "Retrieve",
                "Study Root Query/Retrieve - GET",
                YES,
                NO,
                _use(
                    any(one.ae_title in site.asked for one in site.retrieving(Retrieve.GET)), False
                ),
            ),
            (
                "Retrieve",
                "Study Root Query/Retrieve - MOVE",
                YES,
                NO,
                _use(
                    any(one.ae_title in site.asked for one in site.retrieving(Retrieve.MOVE)), False
                ),
            ),
        ),
    )


def web_services(site: Site) -> Table:
    """Return the table of DICOMweb services."""
    called = any(node.url for node in site.sent_to)
    opened = site.settings.web.port > 0
    return Table(
        "DICOM web services",
        ("Service", "User agent", "Origin server", "In use here"),
        (
            ("Studies: store (STOW-RS)", YES, YES, _web(called, opened)),
            ("Studies: search (QIDO-RS)", YES, YES, _web(called, opened)),
            ("Studies: retrieve (WADO-RS), instances and metadata", NO, YES, _web(False, opened)),
            ("Studies: retrieve rendered, thumbnails, bulk data", NO, NO, NO),
            ("URI service (WADO-URI), worklist (UPS-RS), other", NO, NO, NO),
        ),
    )


def introduction() -> Section:
    """Return for whom this is, and what the words mean."""
    return Section(
        "Introduction",
        parts=(
            Section(
                "Audience",
                (
                    (
                        "Whoever connects Gatekeeper to scanners and archives, or judges whether "
                        "it can be: PACS administrators, service engineers, medical physicists. "
                        "They are expected to know DICOM's terms."
                    ),
                ),
            ),
            Section(
                "Remarks",
                (
                    (
                        "The order is that of the conformance statement template (PS3.2 annex N). "
                        "The statement says what this installation negotiates, answers and "
                        "writes. That two statements fit each other is a first step and no proof: "
                        "connections are tested before use, for which there are gatekeeper node "
                        "echo, node contexts and node roundtrip."
                    ),
                    (
                        "Sections, tables and statuses come from the tables that the program works "
                        "with. It is written anew by gatekeeper conformance after every change of "
                        "version or configuration."
                    ),
                ),
            ),
            Section(
                "Terms and abbreviations",
                (
                    Table(
                        "Terms",
                        ("Term", "Meaning"),
                        (
                            ("AE", "application entity: an end point of DICOM communication"),
                            ("Node", "a remote AE that an administrator has entered"),
                            ("Result", "an object that Gatekeeper creates about a study"),
                            ("Verdict", "CLEAR, SUSPECT, UNREADABLE or UNCALIBRATED"),
                            ("Hold", "a study is kept from a downstream node until it may pass"),
                            ("Spool", "the folder of received and created files"),
                            ("SCU, SCP", "user and provider of a service class (PS3.4)"),
                            ("IOD", "information object definition (PS3.3)"),
                        ),
                    ),
                ),
            ),
            Section(
                "References",
                (
                    Steps(
                        (
                            "NEMA PS3, Digital Imaging and Communications in Medicine (DICOM)",
                            "IETF BCP 195 (RFC 8996, RFC 9325), recommendations for TLS",
                            "IETF RFC 6750, bearer tokens",
                        )
                    ),
                ),
            ),
        ),
    )


def model(site: Site) -> Section:
    """Return the application entities and what they do, in order."""
    title = site.ae_title
    return Section(
        "Implementation model",
        parts=(
            Section(
                "Application data flow",
                (
                    Steps(
                        (
                            (
                                f"Remote AEs send studies to the {LISTENER}, or by HTTP to the "
                                f"{WEB}. Each instance is on disk and on record before it is "
                                "answered with success."
                            ),
                            (
                                "A study without news for its quiet time is complete. It is "
                                "planned by the site's rules, and its chosen series are scored."
                            ),
                            (
                                f"The {SENDER} stores the results at the nodes that take them, "
                                "forwards received instances at once to nodes that wait for "
                                "nothing, and to downstream nodes once the study may pass."
                            ),
                            (
                                "A late instance makes a revision of the study, which is scored "
                                "and delivered anew."
                            ),
                        ),
                        ordered=True,
                    ),
                ),
            ),
            Section(
                "Functional definition of the application entities",
                (
                    f"All of them have the one AE title {title}.",
                    Table(
                        "Application entities",
                        ("Application entity", "AE title", "What it does"),
                        (
                            (
                                LISTENER,
                                Code(title),
                                (
                                    "answers C-ECHO; stores objects; answers requests for storage "
                                    "commitment and takes reports on our own"
                                ),
                            ),
                            (
                                SENDER,
                                Code(title),
                                (
                                    "stores results and studies at other nodes by C-STORE or "
                                    "STOW-RS; asks them for commitment or by C-FIND; reports on "
                                    "commitment requests; finds and fetches priors"
                                ),
                            ),
                            (
                                WEB,
                                "none",
                                (
                                    "takes studies by STOW-RS; answers QIDO-RS and WADO-RS for the "
                                    "studies that are served"
                                ),
                            ),
                        ),
                    ),
                ),
            ),
            Section(
                "Sequencing of real-world activities",
                (
                    (
                        "Receiving never waits for analysis or delivery. What is sent for one "
                        "study comes in this order: priors of a held-back study before the study; "
                        "of the results the documents first, then the picture that answers at a "
                        "glance, then one picture for each slice, then the rest. Deliveries to "
                        "one node go one after another, deliveries to several nodes at the same "
                        "time."
                    ),
                ),
            ),
        ),
    )


def _studies_to(site: Site) -> list[str]:
    return [
        node.ae_title
        for node in site.sent_to
        if node.receives_studies or node.ae_title in site.forwarded
    ]


def _use(scu: bool, scp: bool) -> str:
    return {
        (True, True): "SCU and SCP",
        (True, False): "SCU",
        (False, True): "SCP",
        (False, False): "no",
    }[scu, scp]


def _web(agent: bool, server: bool) -> str:
    return {
        (True, True): "user agent and origin server",
        (True, False): "user agent",
        (False, True): "origin server",
        (False, False): "no",
    }[agent, server]
