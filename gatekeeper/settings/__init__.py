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

from gatekeeper.settings.auditing import AuditSettings
from gatekeeper.settings.clinical import ClinicalSettings
from gatekeeper.settings.documented import setting
from gatekeeper.settings.gating import GateSettings
from gatekeeper.settings.lesions import LesionSettings
from gatekeeper.settings.listening import ListenSettings, TlsSettings
from gatekeeper.settings.metrics import MetricsSettings
from gatekeeper.settings.notifying import NotifySettings
from gatekeeper.settings.sending import CommitmentSettings, PriorSettings, SendSettings
from gatekeeper.settings.site import (
    DatabaseSettings,
    IndexSettings,
    LogSettings,
    RecordSettings,
    RetentionSettings,
    SpoolSettings,
    TickSettings,
)
from gatekeeper.settings.web import AccountSettings, ViewingSettings, WebSettings
from gatekeeper.settings.working import (
    DriftSettings,
    ModelSettings,
    ResultSettings,
    RuleSettings,
    WorkSettings,
)

__all__ = [
    "AccountSettings",
    "AuditSettings",
    "ClinicalSettings",
    "CommitmentSettings",
    "DatabaseSettings",
    "DriftSettings",
    "GateSettings",
    "IndexSettings",
    "ListenSettings",
    "LogSettings",
    "MetricsSettings",
    "ModelSettings",
    "NotifySettings",
    "PriorSettings",
    "RecordSettings",
    "ResultSettings",
    "RetentionSettings",
    "RuleSettings",
    "SendSettings",
    "SettingRow",
    "Settings",
    "SpoolSettings",
    "TickSettings",
    "TlsSettings",
    "ViewingSettings",
    "WebSettings",
    "WorkSettings",
    "describe",
    "rows",
    "section_class",
    "setting",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """All sections; each attribute is a section of the file."""

    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    spool: SpoolSettings = field(default_factory=SpoolSettings)
    listen: ListenSettings = field(default_factory=ListenSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    web: WebSettings = field(default_factory=WebSettings)
    accounts: AccountSettings = field(default_factory=AccountSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    viewing: ViewingSettings = field(default_factory=ViewingSettings)
    work: WorkSettings = field(default_factory=WorkSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    rules: RuleSettings = field(default_factory=RuleSettings)
    drift: DriftSettings = field(default_factory=DriftSettings)
    clinical: ClinicalSettings = field(default_factory=ClinicalSettings)
    lesions: LesionSettings = field(default_factory=LesionSettings)
    results: ResultSettings = field(default_factory=ResultSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    send: SendSettings = field(default_factory=SendSettings)
    commitment: CommitmentSettings = field(default_factory=CommitmentSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    priors: PriorSettings = field(default_factory=PriorSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    index: IndexSettings = field(default_factory=IndexSettings)
    records: RecordSettings = field(default_factory=RecordSettings)
    tick: TickSettings = field(default_factory=TickSettings)
    log: LogSettings = field(default_factory=LogSettings)

    @property
    def pseudonyms(self) -> Path:
        """The folder of the key that hides patients' identities: beside the spool."""
        return Path(self.spool.directory).absolute().parent

    @property
    def signing_key(self) -> Path:
        """The file of the key that signs decision records."""
        beside = Path(self.spool.directory).parent / "signing.pem"
        return Path(self.records.signing_key) if self.records.signing_key else beside


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
        "web": WebSettings,
        "accounts": AccountSettings,
        "metrics": MetricsSettings,
        "viewing": ViewingSettings,
        "work": WorkSettings,
        "models": ModelSettings,
        "rules": RuleSettings,
        "drift": DriftSettings,
        "clinical": ClinicalSettings,
        "lesions": LesionSettings,
        "results": ResultSettings,
        "gate": GateSettings,
        "send": SendSettings,
        "commitment": CommitmentSettings,
        "notify": NotifySettings,
        "audit": AuditSettings,
        "priors": PriorSettings,
        "retention": RetentionSettings,
        "index": IndexSettings,
        "records": RecordSettings,
        "tick": TickSettings,
        "log": LogSettings,
    }[name]
