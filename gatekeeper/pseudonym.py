"""Pseudonyms: a patient's name that only this site's key can make.

The key is made once, lies in a file that only its owner reads, and never leaves the site. What is
named by it can be matched here and looked up nowhere else.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from gatekeeper.errors import ConfigurationError
from models.errors import ModelError

KEY = ".subject-key"
"""File of the key that hides patients' identities, in the folder that is named."""
_KEY_BYTES = 32


def subject_key(directory: Path) -> bytes:
    """Return the site's key, made when it is not there yet.

    Raises:
        ModelError: if it cannot be read or made.
    """
    path = directory / KEY
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=f"{KEY}.") as made:
            made.write(secrets.token_bytes(_KEY_BYTES))
            made.flush()
            os.fsync(made.fileno())
            if not path.exists():
                # Linked, not renamed: of two processes the first one's key is kept.
                Path(path).hardlink_to(made.name)
    except FileExistsError:
        pass
    except OSError as error:
        raise ModelError(f"{path}: cannot be made ({os.strerror(error.errno or 0)})") from error
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read") from error
    if len(key) != _KEY_BYTES:
        raise ModelError(f"{path}: not a key of {_KEY_BYTES} bytes")
    return key


def site_key(directory: Path) -> bytes:
    """Return the key in the site's folder of facts, the folder made when it is missing.

    Raises:
        ConfigurationError: if it cannot be read or made.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return subject_key(directory)
    except OSError as error:
        problem = os.strerror(error.errno or 0)
        raise ConfigurationError("spool.directory", f"no key beside it: {problem}") from error
    except ModelError as error:
        raise ConfigurationError("spool.directory", str(error)) from error


def hashed(key: bytes, text: str) -> str:
    """Return the whole keyed hash of a text, 64 hexadecimal digits."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def patient(key: bytes, patient_id: str, issuer: str = "") -> str:
    """Return a patient's pseudonym, 64 digits; PatientID is unique only within its issuer."""
    return hashed(key, f"{issuer}\0{patient_id}")
