"""Values of labels that come from outside: no control characters, bounded in length and number.

An AE title, a host name and a verdict are names of machines and of ours; nothing of a patient is
ever the value of a label. Prometheus keeps a series for every value that it has ever seen, so their
number is bounded: the first ones keep their names, the others share `OTHER`.
"""

from __future__ import annotations

import re

OTHER = "(other)"
"""No AE title of a node that was entered begins like this by custom; it stands for the rest."""

_LONGEST = 64
_UNSAFE = re.compile(r"[^\x20-\x7e]")


class Labels:
    """The values of one label; used by one collection at a time.

    Args:
        most: values that keep their names.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, text: str) -> str:
        """Return the value to write for `text`."""
        value = _UNSAFE.sub("?", text)[:_LONGEST].strip()
        if value in self._known:
            return value
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(value)
        return value
