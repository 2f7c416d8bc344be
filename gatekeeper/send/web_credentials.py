"""What we show a DICOMweb node: a bearer token (RFC 6750) or name and password (RFC 7617).

They come from the environment or from a file that its owner alone may read, never from the
database, and are read for each call, so that a new one takes effect at once.
"""

from __future__ import annotations

import base64
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gatekeeper.errors import ConfigurationError

VARIABLE = "GATEKEEPER_CREDENTIAL_"
_KEY = "send.web_credentials"
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True, slots=True)
class WebCredential:
    """The value of an Authorization header; it shows itself to nobody."""

    header: str = field(repr=False)

    @classmethod
    def parse(cls, text: str, source: str) -> WebCredential:
        """Return the credential that ``bearer TOKEN`` or ``basic USER:PASSWORD`` says.

        Args:
            text: as configured.
            source: what to name in an error: a variable or a key of the file.

        Raises:
            ConfigurationError: naming the source and never the text.
        """
        kind, _, secret = text.partition(" ")
        secret = secret.strip()
        if kind.lower() == "bearer" and _BEARER.fullmatch(secret):
            return cls(f"Bearer {secret}")
        if kind.lower() == "basic" and ":" in secret and secret.isprintable():
            return cls(f"Basic {base64.b64encode(secret.encode()).decode('ascii')}")
        raise ConfigurationError(source, "must be 'bearer TOKEN' or 'basic USER:PASSWORD'")


def credential_of(
    ae_title: str, file: str, environment: Mapping[str, str] | None = None
) -> WebCredential | None:
    """Return what to show the node of this AE title, None when nothing is set.

    Args:
        ae_title: of the node.
        file: the setting ``send.web_credentials``; empty for none.
        environment: variables; None means those of the process.

    Raises:
        ConfigurationError: if the file cannot be read, may be read by others, or says something
            else than it should.
    """
    variables = os.environ if environment is None else environment
    name = variable_of(ae_title)
    if name in variables:
        return WebCredential.parse(variables[name], name)
    if not file:
        return None
    found = _read(Path(file)).get(ae_title)
    if found is None:
        return None
    source = f"{_KEY} {ae_title}"
    if not isinstance(found, str):
        raise ConfigurationError(source, "must be a text")
    return WebCredential.parse(found, source)


def variable_of(ae_title: str) -> str:
    """Return the environment variable of a node: capitals, other characters as underscores."""
    return VARIABLE + re.sub(r"[^A-Z0-9]", "_", ae_title.upper())


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigurationError(_KEY, f"others may read {path}: chmod 600")
            return tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(_KEY, f"{path}: {error.strerror or 'cannot be read'}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        # The library's message may quote a secret.
        raise ConfigurationError(_KEY, f"{path}: not TOML") from None
