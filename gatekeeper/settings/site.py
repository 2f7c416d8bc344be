"""Settings of the site as a whole: database, spool, retention, periodic work, log."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.settings.documented import setting


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
    enter_seconds: float = setting(
        0.05,
        "how long acknowledged files that vouch for themselves gather before their rows are "
        "written together; 0 to write every row before the answer",
        unit="s",
        minimum=0,
        maximum=5,
    )
    backlog: int = setting(
        2048,
        "acknowledged files whose rows or folders are not synchronised; above it, instances wait",
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
class RecordSettings:
    """The signed record of what was decided about each study."""

    signing_key: str = setting(
        "",
        "file of the key that signs, made when there is none; empty means signing.pem beside the "
        "spool's folder. Keep it and the public keys beside it safe: they tell what was signed "
        "from a forgery",
    )
    studies_at_once: int = setting(
        200, "most records signed in one tick; the rest waits for the next", minimum=1
    )


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """What studies are found by: one header of each series, read once the study is complete."""

    header_kib: int = setting(
        1024,
        "bytes of one file within which what is looked for must lie; a file that goes on without "
        "it is not read",
        unit="KiB",
        minimum=64,
        maximum=65536,
    )
    maximum_series: int = setting(
        100,
        "series of one study that are read, those with the most images first",
        minimum=1,
        maximum=10000,
    )
    studies_at_once: int = setting(
        50, "most studies that one tick reads; the rest waits for the next", minimum=1
    )
    after_removal: str = setting(
        "blank",
        "what becomes of patients' names, numbers, dates and descriptions once retention has "
        "removed a study's files: blank removes them too, keep lets the study be found for ever",
        choices=("blank", "keep"),
    )


@dataclass(frozen=True, slots=True)
class TickSettings:
    """Periodic work."""

    complete_seconds: float = setting(
        1.0, "how often studies are looked at for completeness", unit="s", minimum=0.1
    )
    forward_seconds: float = setting(
        1.0,
        "how often received instances go on to nodes that wait for no verdict",
        unit="s",
        minimum=0.1,
    )
    gate_seconds: float = setting(
        5.0,
        "how often holds are looked at, and studies whose verdict is overdue",
        unit="s",
        minimum=0.1,
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
    record_seconds: float = setting(
        2.0, "how often decisions are looked at for signing", unit="s", minimum=0.1
    )
    shadow_seconds: float = setting(
        5.0, "how often what was judged is decided by terms in shadow", unit="s", minimum=0.1
    )
    index_seconds: float = setting(
        2.0, "how often headers of studies that changed are read", unit="s", minimum=0.1
    )
    drift_seconds: float = setting(
        30.0, "how often what was judged is compared with what came before", unit="s", minimum=0.1
    )
    audit_seconds: float = setting(
        5.0, "how often what happened is looked at for audit messages", unit="s", minimum=0.1
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
