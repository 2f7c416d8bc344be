"""Settings of the worker, its models and the results it makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gatekeeper.settings.documented import setting


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
    without_calibration: str = setting(
        "undecided",
        "a scan whose scanner and protocol have no calibration of their own (`gatekeeper model "
        "calibrate`): undecided, which is UNCALIBRATED, or judged by the bundle's own reference "
        "population, whose false-hold rate may not hold there",
        choices=("undecided", "reference"),
    )
    calibration_subjects: int = setting(
        19,
        "fewest subjects of one scanner and protocol that `gatekeeper model calibrate` takes; "
        "with n of them no p-value is under 1 / (n + 1)",
        minimum=1,
    )

    @property
    def reference_stands_in(self) -> bool:
        """Whether a bundle's own reference population decides where there is no calibration."""
        return self.without_calibration == "reference"

    @property
    def directories(self) -> tuple[Path, ...]:
        """Folders of bundles to search after the shipped ones."""
        return (Path(self.directory),) if self.directory else ()


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """When what comes from a device and protocol counts as other than what came before."""

    reference_series: int = setting(
        60,
        "series of a device and protocol that are the reference before a change is looked for",
        minimum=20,
        maximum=5000,
    )
    run_length: float = setting(
        10_000.0,
        "stated rate of false alarms: at most one in so many series of a device and protocol, "
        "on average, score and header together; a lower one finds changes sooner",
        unit="series",
        minimum=100,
    )
    maximum_series: int = setting(
        5000,
        "series of a reference; after so many it begins anew",
        minimum=100,
        maximum=100_000,
    )
    clock_series: int = setting(
        20,
        "images whose median tells how far a device's clock is off",
        minimum=5,
        maximum=1000,
    )
    clock_seconds: float = setting(
        600.0,
        "how far that median may lie in the future, or from what it was, without an alarm",
        unit="s",
        minimum=1,
    )
    jobs_at_once: int = setting(
        200, "most settled jobs that one tick looks at; the rest waits for the next", minimum=1
    )


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """What is read of a study for the rules; nothing, when no rule asks about headers."""

    header_kib: int = setting(
        4096,
        "bytes of one file within which what rules ask about must lie; what lies later is absent",
        unit="KiB",
        minimum=64,
        maximum=65536,
    )
    maximum_series: int = setting(
        500, "series of one study whose headers are read, one of each", minimum=1, maximum=10000
    )
    maximum_headers: int = setting(
        5000,
        "headers of one study read for its geometry, when a rule asks for series.kind or "
        "series.slice_spacing",
        minimum=1,
        maximum=100000,
    )


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
