"""Every metric: its name, kind, meaning and labels. The administrator's table is made of these.

Names follow Prometheus' conventions: base units, ``_total`` for counters. A counter begins at zero
with its process. Times of events are seconds since 1970 by the database's clock.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from gatekeeper.metrics.histogram import Histogram

Labels = tuple[str, ...]


class Kind(enum.StrEnum):
    """What a metric is to Prometheus."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric; `cost` says what a scrape of it asks of the database."""

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    cost: str = ""

    def of(self, values: Mapping[Labels, float] | float) -> Metric:
        """Return samples of a gauge or a counter, by the values of the labels."""
        kind = CounterMetricFamily if self.kind is Kind.COUNTER else GaugeMetricFamily
        found = kind(self.name, self.help, labels=self.labels)
        by_labels = values if isinstance(values, Mapping) else {(): values}
        for labels, value in sorted(by_labels.items()):
            found.add_metric(labels, float(value))
        return found

    def histogram(self, values: Mapping[Labels, Histogram]) -> Metric:
        """Return samples of a histogram, by the values of the labels."""
        found = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in sorted(values.items()):
            found.add_metric(labels, value.buckets(), value.sum)
        return found

    def empty(self) -> Metric:
        """Return the metric without a sample, so that its name is known."""
        return self.histogram({}) if self.kind is Kind.HISTOGRAM else self.of({})


_ROWS = "new rows, by primary key"
_INDEX = "index of states"
_MEMORY = "none: counted by the process"
_FILES = "none: files"

BUILD = Family("gatekeeper_build_info", Kind.GAUGE, "1, with the version.", ("version",), "none")
SUCCESS = Family(
    "gatekeeper_collector_success",
    Kind.GAUGE,
    "Whether the metrics of a subject could be collected, 1 or 0.",
    ("subject",),
    "none",
)
SECONDS = Family(
    "gatekeeper_collector_seconds",
    Kind.GAUGE,
    "How long the collection of a subject's metrics took.",
    ("subject",),
    "none",
)

INSTANCES = Family(
    "gatekeeper_instances_received_total",
    Kind.COUNTER,
    "Instances kept that were not here before, by sender.",
    ("device",),
    _ROWS,
)
BYTES = Family(
    "gatekeeper_received_bytes_total",
    Kind.COUNTER,
    "Bytes of those instances.",
    ("device",),
    _ROWS,
)
LAST_RECEIVED = Family(
    "gatekeeper_device_last_received_timestamp_seconds",
    Kind.GAUGE,
    "When the newest instance of a sender came; all studies are read for it once a process.",
    ("device",),
    _ROWS,
)
DEVICE_ENABLED = Family(
    "gatekeeper_device_enabled",
    Kind.GAUGE,
    "Whether a node that may send is enabled, 1 or 0.",
    ("device",),
    "nodes",
)

QUEUE_ITEMS = Family(
    "gatekeeper_queue_items",
    Kind.GAUGE,
    "What waits, runs or is dead at a stage; counted up to 100000 a state.",
    ("stage", "state"),
    _INDEX,
)
QUEUE_OLDEST = Family(
    "gatekeeper_queue_oldest_seconds",
    Kind.GAUGE,
    "Age of the oldest at a stage that is not dead; at `receive`, time since anything of it came.",
    ("stage",),
    _INDEX,
)

VERDICTS = Family(
    "gatekeeper_verdicts_total",
    Kind.COUNTER,
    "Studies judged, by sender and verdict.",
    ("device", "verdict"),
    _INDEX + ", then new rows by primary key",
)
TURNAROUND = Family(
    "gatekeeper_analysis_turnaround_seconds",
    Kind.HISTOGRAM,
    "From the completeness of a study to its verdict.",
    (),
    "as verdicts",
)
STAGE = Family(
    "gatekeeper_analysis_stage_seconds",
    Kind.HISTOGRAM,
    "Time of each stage of an analysis; `detect` is the model.",
    ("step",),
    "as verdicts",
)

DELIVERIES = Family(
    "gatekeeper_deliveries_total",
    Kind.COUNTER,
    "Deliveries that their node has, whole.",
    ("node",),
    _INDEX + ", then new rows by primary key",
)
DELIVERY_SECONDS = Family(
    "gatekeeper_delivery_seconds",
    Kind.HISTOGRAM,
    "From the queueing of such a delivery to its end.",
    (),
    "as deliveries",
)

HELD = Family(
    "gatekeeper_held", Kind.GAUGE, "Studies held for a person, by node.", ("node",), _INDEX
)
FIRST_HOLD_END = Family(
    "gatekeeper_hold_first_end_timestamp_seconds",
    Kind.GAUGE,
    "When the first of the holds ends by itself; absent without holds.",
    (),
    _INDEX,
)

PAUSED = Family(
    "gatekeeper_intake_paused",
    Kind.GAUGE,
    "Whether intake is paused at a mark, `disk` or `queue`, 1 or 0.",
    ("mark",),
    "two rows",
)
SPOOL_FREE = Family(
    "gatekeeper_spool_free_bytes",
    Kind.GAUGE,
    "Free space of the spool's file system.",
    (),
    "none: one system call",
)
SPOOL_SIZE = Family(
    "gatekeeper_spool_size_bytes",
    Kind.GAUGE,
    "Size of the spool's file system.",
    (),
    "none: one system call",
)
SPOOL_LOW_WATER = Family(
    "gatekeeper_spool_low_water_bytes",
    Kind.GAUGE,
    "Free space under which instances are refused: `spool.low_water_mib`.",
    (),
    "none",
)
NOT_SETTLED = Family(
    "gatekeeper_spool_unsettled_files",
    Kind.GAUGE,
    "Acknowledged files that have yet to get their final name.",
    (),
    "a short table",
)

PROCESS_OPEN = Family(
    "gatekeeper_associations_open",
    Kind.GAUGE,
    "Associations that are open, and STOW-RS requests under way, by process.",
    ("process",),
    _MEMORY,
)
ASSOCIATIONS = Family(
    "gatekeeper_associations_total",
    Kind.COUNTER,
    "Associations asked for, by process and outcome: `accepted`, or why not.",
    ("process", "outcome"),
    _MEMORY,
)
ANSWERS = Family(
    "gatekeeper_instances_answered_total",
    Kind.COUNTER,
    "Instances answered, by process and DIMSE status: `0000` is kept; resends count again.",
    ("process", "status"),
    _MEMORY,
)
ANSWERED_BYTES = Family(
    "gatekeeper_instances_answered_bytes_total",
    Kind.COUNTER,
    "Bytes of data sets that came with them, refused ones included.",
    ("process",),
    _MEMORY,
)
RECEIVE_TIME = Family(
    "gatekeeper_receive_seconds",
    Kind.HISTOGRAM,
    "From the announcement of an instance to the answer, the transfer included.",
    ("process",),
    _MEMORY,
)

CERTIFICATE_END = Family(
    "gatekeeper_certificate_expiry_timestamp_seconds",
    Kind.GAUGE,
    "When the first certificate of a TLS setting expires.",
    ("key",),
    _FILES,
)

DRIFT_ALARM = Family(
    "gatekeeper_drift_alarm",
    Kind.GAUGE,
    "Whether a device's scores of a protocol have drifted from their reference, 1 or 0.",
    ("device", "protocol"),
    "streams of drift, a row for each device, protocol and detector",
)

CATALOGUE: tuple[Family, ...] = (
    BUILD,
    SUCCESS,
    SECONDS,
    INSTANCES,
    BYTES,
    LAST_RECEIVED,
    DEVICE_ENABLED,
    PROCESS_OPEN,
    ASSOCIATIONS,
    ANSWERS,
    ANSWERED_BYTES,
    RECEIVE_TIME,
    QUEUE_ITEMS,
    QUEUE_OLDEST,
    VERDICTS,
    TURNAROUND,
    STAGE,
    DELIVERIES,
    DELIVERY_SECONDS,
    HELD,
    FIRST_HOLD_END,
    PAUSED,
    SPOOL_FREE,
    SPOOL_SIZE,
    SPOOL_LOW_WATER,
    NOT_SETTLED,
    CERTIFICATE_END,
    DRIFT_ALARM,
)
"""All of them, in the order of the exposition."""


def page() -> str:
    """Return the table of the administrator's page."""
    lines = ["| metric | labels | meaning | read from the database |", "|---|---|---|---|"]
    for one in CATALOGUE:
        labels = ", ".join(f"`{name}`" for name in one.labels) or "–"
        lines.append(f"| `{one.name}` ({one.kind}) | {labels} | {one.help} | {one.cost} |")
    return "\n".join(lines) + "\n"
