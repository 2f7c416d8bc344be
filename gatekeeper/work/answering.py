"""Answering: how a limited child speaks with the process that started it, and names what failed.

The two pipes of the protocol are moved away before any library is imported, so that what a library
prints goes to standard error and corrupts nothing. Nothing here says what a library said: that may
hold patient data.
"""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path
from typing import Any, TextIO


def take_pipes() -> tuple[TextIO, TextIO]:
    """Return the protocol's two ends, closed to programs started from here, and free 0 and 1."""
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return os.fdopen(requests, encoding="utf-8"), os.fdopen(answers, "w", encoding="utf-8")


def say(answers: TextIO, reply: dict[str, Any]) -> None:
    """Write one reply, and have the parent see it at once."""
    answers.write(json.dumps(reply) + "\n")
    answers.flush()


def of_the_disk(error: OSError) -> dict[str, Any]:
    """Return the reply when spool or scratch folder failed."""
    from storage.filesystem import OUT_OF_SPACE

    text = os.strerror(error.errno or 0)
    if error.errno in OUT_OF_SPACE:
        return {"failed": text, "out_of_space": True}
    return {"failed": f"the spool or scratch folder failed: {text}"}


def place(error: BaseException) -> str:
    """Return the innermost of our own lines that `error` passed: ``in detect (detector.py:88)``."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(frame.filename)]
    frame = (own or list(frames))[-1]
    return f"in {frame.name} ({Path(frame.filename).name}:{frame.lineno})"


def _is_own(filename: str) -> bool:
    return bool({"gatekeeper", "models", "storage"}.intersection(Path(filename).parts[-4:-1]))
