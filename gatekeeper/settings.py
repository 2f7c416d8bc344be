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


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """The C-STORE and C-ECHO listener."""

    ae_title: str = setting("GATEKEEPER", "own AE title, called by scanners, used when we call")
    host: str = setting("0.0.0.0", "address to bind")  # noqa: S104 - scanners call from outside
    port: int = setting(11112, "TCP port to bind", minimum=1, maximum=65535)
    maximum_pdu: int = setting(
        131072, "largest PDU accepted", unit="bytes", minimum=4096, maximum=1048576
    )
    maximum_associations: int = setting(50, "associations open at once", minimum=1, maximum=1000)
    association_timeout: float = setting(
        30.0, "wait for an association request after connecting", unit="s", minimum=1, maximum=600
    )
    dimse_timeout: float = setting(
        30.0, "wait for the rest of a message that has begun", unit="s", minimum=1, maximum=600
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
    accept_deflated: bool = setting(
        False, "accept Deflated Explicit VR Little Endian, whose expansion has no bound"
    )
    private_sop_classes: tuple[str, ...] = setting(
        (), "private storage SOP class UIDs to accept besides the standard ones"
    )


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
        3, "attempts before a job is set aside as dead", minimum=1, maximum=100
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
    catalogues: str = setting(
        "", "folder of own catalogues of texts, LANGUAGE.toml; searched before the shipped ones"
    )


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
    work: WorkSettings = field(default_factory=WorkSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    results: ResultSettings = field(default_factory=ResultSettings)
    send: SendSettings = field(default_factory=SendSettings)
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
        "work": WorkSettings,
        "models": ModelSettings,
        "results": ResultSettings,
        "send": SendSettings,
        "tick": TickSettings,
        "log": LogSettings,
    }[name]
