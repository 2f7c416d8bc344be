"""Settings of deliveries and of storage commitment."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.settings.documented import setting


@dataclass(frozen=True, slots=True)
class SendSettings:
    """Delivery to other nodes."""

    poll_seconds: float = setting(
        0.5, "wait between looks at an empty delivery table", unit="s", minimum=0.05, maximum=60
    )
    lease_seconds: float = setting(
        120.0, "how long a claimed delivery holds without progress", unit="s", minimum=2
    )
    connect_timeout: float = setting(
        10.0, "wait for the TCP connection", unit="s", minimum=1, maximum=600
    )
    association_timeout: float = setting(
        30.0, "wait for the association's answer", unit="s", minimum=1, maximum=600
    )
    dimse_timeout: float = setting(
        60.0, "wait for a C-STORE response", unit="s", minimum=1, maximum=3600
    )
    network_timeout: float = setting(
        60.0, "wait for a peer to take more bytes", unit="s", minimum=1, maximum=3600
    )
    object_seconds: float = setting(
        1800.0, "longest time for the bytes of one object", unit="s", minimum=1, maximum=86400
    )
    reconnects: int = setting(
        2,
        "associations lost in a row without one more answer before an attempt ends",
        minimum=0,
        maximum=100,
    )
    reencode_mib: int = setting(
        512,
        "largest object re-encoded, from Explicit to Implicit VR Little Endian only, for a peer "
        "that does not take it as stored",
        unit="MiB",
        minimum=0,
    )
    destinations: int = setting(
        32, "nodes sent to at once, one delivery each", minimum=1, maximum=1000
    )
    stop_seconds: float = setting(
        15.0, "wait at SIGTERM for the instances under way", unit="s", minimum=0, maximum=600
    )
    find_matches: int = setting(
        20000, "matches of one query (C-FIND) that are taken; more is an error", minimum=1
    )
    find_seconds: float = setting(
        120.0, "longest time for all matches of one query", unit="s", minimum=1, maximum=3600
    )
    maximum_attempts: int = setting(
        50, "attempts before a delivery is set aside as dead", minimum=1, maximum=100000
    )
    brief_attempts: int = setting(
        10,
        "attempts when the answer is likely to be lasting, such as 'cannot understand' (Cxxx)",
        minimum=1,
        maximum=100000,
    )
    retry_seconds: float = setting(
        5.0, "delay before the second attempt; doubles each time", unit="s", minimum=0
    )
    retry_maximum_seconds: float = setting(
        900.0, "longest delay between attempts", unit="s", minimum=0
    )
    web_credentials: str = setting(
        "",
        "TOML file, mode 0600, with a line for each DICOMweb node that wants credentials: 'bearer "
        "TOKEN' or 'basic USER:PASSWORD' under its AE title; GATEKEEPER_CREDENTIAL_<AE> in the "
        "environment goes before it",
    )
    stow_objects: int = setting(64, "most objects in one STOW-RS request", minimum=1, maximum=10000)
    stow_mib: int = setting(
        256, "size from which a STOW-RS request takes no further object", unit="MiB", minimum=1
    )
    stow_answer_seconds: float = setting(
        300.0,
        "wait for the answer to a STOW-RS request once it is sent",
        unit="s",
        minimum=1,
        maximum=3600,
    )
    stow_answer_mib: int = setting(
        16, "largest answer to a DICOMweb request that is read", unit="MiB", minimum=1, maximum=1024
    )


@dataclass(frozen=True, slots=True)
class PriorSettings:
    """Prior studies that a rule asks an archive for."""

    retrieve_seconds: float = setting(
        600.0, "longest time to fetch one prior study", unit="s", minimum=1, maximum=86400
    )
    patience_seconds: float = setting(
        1800.0,
        "age at which a request is given up, whatever it waits for; no study waits for its priors "
        "longer than this",
        unit="s",
        minimum=1,
    )
    maximum_attempts: int = setting(
        6, "attempts to ask for priors, and to fetch each, before it is given up", minimum=1
    )
    retry_seconds: float = setting(
        15.0, "delay before the second attempt; doubles each time", unit="s", minimum=0
    )
    retry_maximum_seconds: float = setting(
        300.0, "longest delay between attempts", unit="s", minimum=0
    )


@dataclass(frozen=True, slots=True)
class CommitmentSettings:
    """Storage commitment: nodes ask us, and we ask nodes that confirm what they store."""

    check_digest: bool = setting(
        False,
        "read every file and compare its digest before committing to it; else presence and size",
    )
    maximum_references: int = setting(
        20000, "instances in one request to us", minimum=1, maximum=80000
    )
    same_association_seconds: float = setting(
        1.0,
        "silence on the association of a request after which the report is tried on it; 0 reports "
        "on a new association alone",
        unit="s",
        minimum=0,
        maximum=60,
    )
    lease_seconds: float = setting(
        180.0, "how long one attempt to report may take", unit="s", minimum=2, maximum=3600
    )
    maximum_attempts: int = setting(
        50, "attempts to report before it is given up", minimum=1, maximum=100000
    )
    retry_seconds: float = setting(
        10.0, "delay before the report is tried again; doubles each time", unit="s", minimum=0
    )
    retry_maximum_seconds: float = setting(
        3600.0, "longest delay between attempts to report", unit="s", minimum=0
    )
    wait_seconds: float = setting(
        10.0,
        "wait, on the association of our own request, for the node's report",
        unit="s",
        minimum=0,
        maximum=600,
    )
    ask_again_seconds: float = setting(
        600.0,
        "time for a node's report, or for instances to be found, before it is asked again",
        unit="s",
        minimum=0,
    )
    questions: int = setting(
        6, "times a node is asked before its confirmation counts as missing", minimum=1
    )
    resends: int = setting(
        3, "times that instances which a node does not keep are sent again", minimum=0
    )
