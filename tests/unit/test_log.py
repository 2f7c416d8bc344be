"""Logs hold allow-listed fields only."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gatekeeper import log
from gatekeeper.errors import RefusedInstance


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    text = io.StringIO()
    log.configure("INFO", text)
    yield text
    structlog.reset_defaults()


def test_a_field_that_is_not_on_the_list_is_dropped_and_counted(stream: io.StringIO) -> None:
    """A patient's name handed to a log call does not reach the log."""
    log.get_logger().info("stored", study="1.2.3", patient_name="Doe^Jane")
    line = json.loads(stream.getvalue())
    assert line["study"] == "1.2.3"
    assert line["dropped_fields"] == 1
    assert "Doe" not in stream.getvalue()


def test_library_loggers_write_nothing(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """pydicom and pynetdicom print raw attribute values; theirs are held."""
    for name in ("pydicom", "pynetdicom", "highdicom"):
        logging.getLogger(name).warning("Invalid value for VR PN: Doe^Jane")
    assert "Doe" not in stream.getvalue() + "".join(capsys.readouterr())


def test_an_error_from_a_library_is_logged_by_its_class_alone() -> None:
    """A library's message may carry a value from the data set; ours never does."""
    assert log.error_name(ValueError("Doe^Jane")) == "ValueError"
    assert log.error_name(RefusedInstance(0xC000, "no UID")) == "RefusedInstance: no UID"
