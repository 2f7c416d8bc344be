"""Every setting as a documented field of a frozen record.

A field carries its unit, its help and its bounds; the commented file that `gatekeeper init` writes,
`docs/settings.md` and every error message come from the same fields. Reading the file and the
environment is `gatekeeper.config`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Return a dataclass field that documents itself."""
    metadata = {
        "help": help,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where the facts are kept."""

    url: str = setting(
        "sqlite:///gatekeeper-data/gatekeeper.db",
        "SQLAlchemy URL: sqlite:///FILE for one machine, postgresql+psycopg://... for a site",
    )
    lock_seconds: float = setting(
        5.0, "longest wait for a locked database", unit="s", minimum=0.1, maximum=60
    )
    rows_at_once: int = setting(
        64, "most received instances recorded in one transaction", minimum=1, maximum=1000
    )


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """Where the bytes are kept."""

    directory: str = setting("gatekeeper-data/spool", "folder of the received files, by digest")
    low_water_mib: int = setting(
        1024,
        "free space under which instances are refused with 0xA700 until there is more",
        unit="MiB",
        minimum=0,
    )
    slots: int = setting(
        64, "empty files that each listener holds ready for instances", minimum=1, maximum=1000
    )
    settle_seconds: float = setting(
        0.5,
        "how long acknowledged files gather before their folders are synchronised together",
        unit="s",
        minimum=0,
        maximum=60,
    )
    backlog: int = setting(
        2048,
        "acknowledged files whose folders are not synchronised; above it, instances wait",
        minimum=1,
        maximum=10000,
    )
    wait_seconds: float = setting(
        10.0,
        "longest wait of an instance for the backlog or for its turn in the database; then 0xA700",
        unit="s",
        minimum=0.1,
        maximum=600,
    )
    resume_mib: int = setting(
        0,
        "free space at which they are taken again; 0 for a tenth more than low_water_mib, at most "
        "64 MiB more",
        unit="MiB",
        minimum=0,
    )


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """The C-STORE and C-ECHO listener."""

    ae_title: str = setting("GATEKEEPER", "own AE title, called by scanners, used when we call")
    host: str = setting("0.0.0.0", "address to bind")  # noqa: S104 - scanners call from outside
    port: int = setting(11112, "TCP port to bind", minimum=1, maximum=65535)
    plain: bool = setting(True, "open `port`, in plain text; false leaves `tls_port` alone open")
    tls_port: int = setting(
        0,
        "TCP port for DICOM TLS, 2762 by custom, beside the plain one; 0 opens none",
        minimum=0,
        maximum=65535,
    )
    maximum_pdu: int = setting(
        131072, "largest PDU accepted", unit="bytes", minimum=4096, maximum=1048576
    )
    maximum_associations: int = setting(50, "associations open at once", minimum=1, maximum=1000)
    maximum_connections: int = setting(
        100,
        "TCP connections open at once; one more is closed before it costs a thread",
        minimum=1,
        maximum=2000,
    )
    maximum_connections_per_host: int = setting(
        50, "TCP connections of one address open at once", minimum=1, maximum=2000
    )
    maximum_object_mib: int = setting(
        4096, "largest data set of one C-STORE; its sender is aborted", unit="MiB", minimum=1
    )
    maximum_request_mib: int = setting(
        16,
        "largest data set of any other request, such as storage commitment",
        unit="MiB",
        minimum=1,
        maximum=1024,
    )
    maximum_association_mib: int = setting(
        1048576, "most bytes that one association may send", unit="MiB", minimum=1
    )
    object_seconds: float = setting(
        1800.0, "longest time for the bytes of one message", unit="s", minimum=1, maximum=86400
    )
    association_timeout: float = setting(
        30.0, "wait for an association request after connecting", unit="s", minimum=1, maximum=600
    )
    dimse_timeout: float = setting(
        30.0,
        "longest time for one PDU, and between two of a message that has begun",
        unit="s",
        minimum=1,
        maximum=600,
    )
    network_timeout: float = setting(
        60.0, "silence after which an association is aborted", unit="s", minimum=1, maximum=3600
    )
    quiet_seconds: float = setting(
        30.0,
        "silence after which a study counts as complete; a node may have its own",
        unit="s",
        minimum=0,
        maximum=86400,
    )
    patience_seconds: float = setting(
        600.0,
        "silence after which a study counts as complete though its sender is still connected",
        unit="s",
        minimum=1,
        maximum=86400,
    )
    association_lease: float = setting(
        30.0,
        "time after which the open associations of a listener that died count as ended",
        unit="s",
        minimum=1,
        maximum=600,
    )
    resolve_seconds: float = setting(
        2.0, "wait for the addresses of a node's host name", unit="s", minimum=0.1, maximum=60
    )
    resolve_again_seconds: float = setting(
        60.0, "how long the addresses of a host name are used", unit="s", minimum=1, maximum=86400
    )
    stop_seconds: float = setting(
        12.0, "wait at SIGTERM for open associations to end", unit="s", minimum=0, maximum=600
    )
    queue_high: int = setting(
        0,
        "jobs waiting at which associations that would store are rejected for now; 0 for never",
        minimum=0,
    )
    queue_low: int = setting(
        0, "jobs waiting at which, after that, associations are accepted again", minimum=0
    )
    accept_deflated: bool = setting(
        False, "accept Deflated Explicit VR Little Endian, whose expansion has no bound"
    )
    private_sop_classes: tuple[str, ...] = setting(
        (), "private storage SOP class UIDs to accept besides the standard ones"
    )


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS to and from nodes: our certificate, and whose certificates we trust."""

    certificate: str = setting(
        "",
        "PEM file of our certificate, then those of its intermediate CAs; presented both as server "
        "and as client",
    )
    key: str = setting("", "PEM file of its private key, without a passphrase, mode 0600")
    ca: str = setting("", "PEM file of the CA certificates that nodes' certificates must lead to")
    require_certificate: bool = setting(
        True, "refuse callers by TLS that present no certificate; one presented is always judged"
    )
    minimum_version: str = setting(
        "1.2", "lowest version of TLS that is negotiated", choices=("1.2", "1.3")
    )
    handshake_seconds: float = setting(
        10.0, "longest time for a TLS handshake, in and out", unit="s", minimum=0.1, maximum=600
    )
    warn_days: int = setting(
        30, "days before a certificate of ours or of a CA expires that warnings begin", minimum=0
    )

    @property
    def configured(self) -> bool:
        """Whether any file is named."""
        return bool(self.certificate or self.key or self.ca)


@dataclass(frozen=True, slots=True)
class WorkSettings:
    """The worker and its limited child process."""

    processes: int = setting(1, "workers that `gatekeeper up` runs", minimum=0, maximum=64)
    lease_seconds: float = setting(
        60.0, "how long a claim holds without a heartbeat", unit="s", minimum=2, maximum=3600
    )
    poll_seconds: float = setting(
        0.5, "wait between looks at an empty job table", unit="s", minimum=0.05, maximum=60
    )
    maximum_attempts: int = setting(
        3,
        "attempts before a job is set aside as dead; one that found the disk full does not count",
        minimum=1,
        maximum=100,
    )
    retry_seconds: float = setting(
        10.0, "delay before the second attempt; doubles each time", unit="s", minimum=0
    )
    retry_maximum_seconds: float = setting(
        900.0, "longest delay between attempts", unit="s", minimum=0
    )
    memory_mib: int = setting(8192, "memory of the child process", unit="MiB", minimum=2048)
    cpu_seconds: float = setting(
        900.0, "processor time of the child process for one job", unit="s", minimum=1
    )
    wall_seconds: float = setting(600.0, "elapsed time for one job", unit="s", minimum=1)
    maximum_voxels: int = setting(
        600_000_000, "voxels in one series; a larger one is UNREADABLE", minimum=1_000_000
    )
    maximum_series: int = setting(
        8,
        "volumes of one study that are assessed, the largest series first; the rest are not",
        minimum=1,
        maximum=1000,
    )
    stop_seconds: float = setting(
        10.0,
        "wait at SIGTERM for the job under way; then it is released for another worker",
        unit="s",
        minimum=0,
        maximum=600,
    )
    device: str = setting("auto", "where models run", choices=("auto", "cpu", "cuda"))
    threads: int = setting(0, "processor threads for models; 0 means all", minimum=0)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The detectors in use."""

    directory: str = setting(
        "",
        "folder of site bundles and of the choice among them; empty means only the shipped ones",
    )
    false_hold_rate: float = setting(
        0.05,
        "share of normal studies that may be held; the cut on the conformal p-value",
        minimum=0.0001,
        maximum=0.5,
    )
    calibration_subjects: int = setting(
        19,
        "fewest subjects of one scanner and protocol that `gatekeeper model calibrate` takes; "
        "with n of them no p-value is under 1 / (n + 1)",
        minimum=1,
    )

    @property
    def directories(self) -> tuple[Path, ...]:
        """Folders of bundles to search after the shipped ones."""
        return (Path(self.directory),) if self.directory else ()


@dataclass(frozen=True, slots=True)
class ResultSettings:
    """The objects returned to the PACS."""

    institution: str = setting("", "InstitutionName of the results; empty leaves it out")
    series_number: int = setting(
        9100, "SeriesNumber of the report; heatmaps follow", minimum=2, maximum=99999
    )
    compression: str = setting(
        "none",
        "lossless compression of pictures; a destination that does not take it refuses them",
        choices=("none", "rle", "jpeg2000"),
    )
    heatmap_slices: str = setting(
        "all",
        "slices that get a heatmap: all, or those of a held series that its regions or its peak "
        "touch; the montage is made in any case",
        choices=("all", "flagged"),
    )
    heatmap_margin: int = setting(
        2, "further slices to each side of flagged ones", unit="slices", minimum=0, maximum=1000
    )
    catalogues: str = setting(
        "", "folder of own catalogues of texts, LANGUAGE.toml; searched before the shipped ones"
    )

    @property
    def flagged_margin(self) -> int | None:
        """Slices to each side of a flagged one that get a heatmap too; None when all slices do."""
        return self.heatmap_margin if self.heatmap_slices == "flagged" else None


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


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """When received files go; only those of studies that are delivered, the oldest first."""

    days: float = setting(
        0.0, "age at which a received file is removed; 0 keeps all for ever", unit="days", minimum=0
    )
    free_mib: int = setting(
        0,
        "free space under which files are removed whatever their age; 0 for never",
        unit="MiB",
        minimum=0,
    )


@dataclass(frozen=True, slots=True)
class TickSettings:
    """Periodic work."""

    complete_seconds: float = setting(
        1.0, "how often studies are looked at for completeness", unit="s", minimum=0.1
    )
    rescue_seconds: float = setting(
        5.0, "how often expired leases are taken back", unit="s", minimum=0.1
    )
    sweep_seconds: float = setting(
        3600.0, "how often residue of broken transfers is removed", unit="s", minimum=1
    )
    certificates_seconds: float = setting(
        86400.0, "how often it is looked at which certificates expire", unit="s", minimum=1
    )
    retain_seconds: float = setting(
        600.0, "how often received files are looked at for removal", unit="s", minimum=1
    )
    residue_seconds: float = setting(
        3600.0, "age at which an unfinished temporary file is residue", unit="s", minimum=60
    )


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Structured events on standard error."""

    level: str = setting(
        "INFO", "least severe event written", choices=("DEBUG", "INFO", "WARNING", "ERROR")
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All sections; each attribute is a section of the file."""

    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    spool: SpoolSettings = field(default_factory=SpoolSettings)
    listen: ListenSettings = field(default_factory=ListenSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    work: WorkSettings = field(default_factory=WorkSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    results: ResultSettings = field(default_factory=ResultSettings)
    send: SendSettings = field(default_factory=SendSettings)
    commitment: CommitmentSettings = field(default_factory=CommitmentSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    tick: TickSettings = field(default_factory=TickSettings)
    log: LogSettings = field(default_factory=LogSettings)


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One documented setting."""

    section: str
    name: str
    default: Any
    help: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]

    @property
    def key(self) -> str:
        """Dotted name, as errors name it."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """Environment variable that overrides it."""
        return f"GATEKEEPER_{self.section}_{self.name}".upper()


def rows() -> Iterator[SettingRow]:
    """Yield every setting, in the order of the file."""
    for section in dataclasses.fields(Settings):
        for item in dataclasses.fields(section_class(section.name)):
            yield SettingRow(section.name, item.name, item.default, **item.metadata)


def describe(row: SettingRow) -> str:
    """Return the help of a setting with its unit, bounds and choices, in one line."""
    notes: list[str] = []
    if row.unit:
        notes.append(row.unit)
    if row.minimum is not None and row.maximum is not None:
        notes.append(f"{row.minimum:g} to {row.maximum:g}")
    elif row.minimum is not None:
        notes.append(f"at least {row.minimum:g}")
    if row.choices:
        notes.append("one of " + ", ".join(row.choices))
    return row.help + (f" ({'; '.join(notes)})" if notes else "")


def section_class(name: str) -> Any:
    """Return the record of a section."""
    return {
        "database": DatabaseSettings,
        "spool": SpoolSettings,
        "listen": ListenSettings,
        "tls": TlsSettings,
        "work": WorkSettings,
        "models": ModelSettings,
        "results": ResultSettings,
        "send": SendSettings,
        "commitment": CommitmentSettings,
        "retention": RetentionSettings,
        "tick": TickSettings,
        "log": LogSettings,
    }[name]
