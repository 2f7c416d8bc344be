"""The status table: what each C-STORE status means for the object."""

from __future__ import annotations

import pytest
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from gatekeeper.send.statuses import RULES, Disposition, judge

DUPLICATE_SOP_INSTANCE = 0x0111


@pytest.mark.parametrize(
    ("status", "disposition"),
    [
        (0x0000, Disposition.STORED),
        (0x0001, Disposition.WARNED),
        (0x0107, Disposition.WARNED),
        (0x0116, Disposition.WARNED),
        (0xB000, Disposition.WARNED),
        (0xB006, Disposition.WARNED),
        (0xB007, Disposition.WARNED),
        (0xB123, Disposition.WARNED),
        (DUPLICATE_SOP_INSTANCE, Disposition.WARNED),
        (0xA700, Disposition.RETRY),
        (0xA7FF, Disposition.RETRY),
        (0x0110, Disposition.RETRY),
        (0x0213, Disposition.RETRY),
        (0xFE00, Disposition.RETRY),
        (0xFF00, Disposition.RETRY),
        (None, Disposition.RETRY),
        (0xC000, Disposition.RETRY_BRIEFLY),
        (0xC211, Disposition.RETRY_BRIEFLY),
        (0x0124, Disposition.RETRY_BRIEFLY),
        (0x0211, Disposition.RETRY_BRIEFLY),
        (0x4242, Disposition.RETRY_BRIEFLY),
        (0xA900, Disposition.DEAD),
        (0xA9FF, Disposition.DEAD),
        (0x0117, Disposition.DEAD),
        (0x0122, Disposition.DEAD),
        (0xA800, Disposition.DEAD),
    ],
)
def test_each_status_has_its_disposition(status: int | None, disposition: Disposition) -> None:
    """The dispositions that the module documents, status by status."""
    assert judge(status)[0] is disposition


def test_nothing_that_the_standard_calls_a_failure_counts_as_stored() -> None:
    """Against pynetdicom's table: success and warnings are stored, of failures the duplicate."""
    for status, (category, _) in STORAGE_SERVICE_CLASS_STATUS.items():
        expected = category in {"Success", "Warning"} or status == DUPLICATE_SOP_INSTANCE
        assert judge(status)[0].stored is expected, hex(status)


def test_every_possible_status_is_judged_with_its_number() -> None:
    """All 65536 statuses have a disposition, and a reason that begins with the status."""
    for status in range(0x10000):
        disposition, reason = judge(status)
        assert isinstance(disposition, Disposition)
        assert reason.startswith(f"{status:04X} ")


def test_each_rule_is_reached() -> None:
    """No rule hides behind an earlier one."""
    for rule in RULES:
        assert judge(rule.last) == (rule.disposition, f"{rule.last:04X} {rule.text}")
