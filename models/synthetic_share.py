"""Synthetic share: what a bundle's manifest says of the synthetic scans that it was fitted on.

A manifest without the entry ``synthetic`` was fitted on scans of scanners alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

ENTRY = "synthetic"


def in_words(manifest: Mapping[str, Any]) -> str:
    """Return how much of what a bundle was fitted on is synthetic, in words; empty for none."""
    if ENTRY not in manifest:
        return ""
    known = cast("Mapping[str, Any]", manifest[ENTRY])
    total = int(known["scans"]) + int(known["real_scans"])
    return (
        f"{known['scans']} of the {total} scans it was fitted on are synthetic: {known['output']} "
        f"drawn from {known['source']} by {known['model']}@{str(known['digest'])[:12]}"
    )


def told(manifest: Mapping[str, Any]) -> str:
    """Return `in_words` to stand behind a calibration's description; empty for none."""
    words = in_words(manifest)
    return f"; {words}" if words else ""
