"""Every error Gatekeeper raises on purpose.

```
GatekeeperError
├── ConfigurationError     a setting, node or model that cannot be used; names the key
├── IdentifierError        a UID, AE title or digest that is not one
├── RefusedInstance        an instance we do not take, with the C-STORE status to answer
├── UnreadableSeries       pixels or geometry that cannot be read honestly
├── ClinicalRefused        a clinical value whose name, unit or size cannot be taken
├── LesionRefused          a region that came with a study and cannot be scored
├── GateRefused            a person's decision that cannot be taken
├── TransportError         a peer that could not be reached or broke off
└── ChildFailed            the limited child process ended without an answer
```

Messages name the rule that was broken and never carry patient data: they are written to logs.
"""

from __future__ import annotations


class GatekeeperError(Exception):
    """Base of all errors raised on purpose."""


class ConfigurationError(GatekeeperError):
    """A setting that cannot be used.

    Args:
        key: dotted name of the setting, for example ``listen.port``.
        problem: what is wrong with it, in one clause.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class IdentifierError(GatekeeperError):
    """A value that is not a valid UID, AE title or digest."""


class RefusedInstance(GatekeeperError):
    """An instance that is not taken; the sender keeps it.

    Args:
        status: the C-STORE status to answer (PS3.4 B.2.3, PS3.7 C.4).
        rule: the rule that was broken.
    """

    def __init__(self, status: int, rule: str) -> None:
        super().__init__(rule)
        self.status = status
        self.rule = rule


class UnreadableSeries(GatekeeperError):
    """A series whose pixels or geometry cannot be read honestly; the text is shown to people."""


class ClinicalRefused(GatekeeperError):
    """A clinical value that is not taken; the text names the rule and no patient."""


class LesionRefused(GatekeeperError):
    """A drawn region that cannot be scored; the text completes a sentence and names no patient."""


class GateRefused(GatekeeperError):
    """A person's decision on a study that cannot be taken; the text says why, and is for them."""


class TransportError(GatekeeperError):
    """A peer could not be reached, refused the association, or broke it off."""


class ChildFailed(GatekeeperError):
    """The limited child process died, was stopped at a limit, or gave no valid answer."""
