"""What a model can refuse, and why.

`ModelError` is a fault of the installation (a bundle that is tampered with, incomplete or of the
wrong shape); `NotAssessable` is a fact about the scan. The two are never mixed: the first is for
the administrator, the second is the answer to the radiologist.
"""

from __future__ import annotations


class ModelError(Exception):
    """A bundle or its weights cannot be used as they are."""


class TamperedError(ModelError):
    """A file does not have the SHA-256 that its manifest names."""


class NotAssessable(Exception):
    """The scan cannot be judged by this detector; `reason` says why, in one sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
