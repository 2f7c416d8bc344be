"""Extras: packages that one role needs beyond the core install, named when they are missing."""

from __future__ import annotations

from importlib.util import find_spec

_VIEWING = ("numpy", "PIL", "pylibjpeg")
_WEB = (
    "argon2",
    "fastapi",
    "httpx",
    "jinja2",
    "joserfc",
    "prometheus_client",
    "python_multipart",
    "uvicorn",
)


def web_problem() -> str | None:
    """Return what the web role lacks here, or None."""
    missing = [name for name in _WEB if not _is_installed(name)]
    if not missing:
        return None
    return f"needs {', '.join(missing)}: install dicom-gatekeeper with its extra `web`"


def viewing_problem() -> str | None:
    """Return what the pages lack here to show images, or None."""
    missing = [name for name in _VIEWING if not _is_installed(name)]
    if not missing:
        return None
    return f"needs {', '.join(missing)}: install dicom-gatekeeper with its extra `worker`"


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ValueError:
        # A module that was kept from being imported.
        return False
