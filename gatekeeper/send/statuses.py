"""What a C-STORE status means for the object that was sent: a pure table.

Sources: PS3.4 B.2.3 (Storage Service Class) and PS3.7 Annex C (general statuses).

Where the standard leaves the choice to the sender, it was made so:

- Nothing counts as stored that the peer did not say it performed or already holds.
- Out of resources (A7xx, 0213) and a processing failure (0110) are conditions of the peer and pass:
  retried to the end of the delivery's attempts.
- 'Cannot understand' (Cxxx) ought to be permanent, but archives answer it for every internal error,
  a lost database among them; a refusal of authority (0124) waits for a person. Both are retried
  briefly, then set aside with their reason.
- A data set that does not match its SOP class (A9xx), or a class or instance that the peer calls
  invalid, will not change by repetition: set aside at once. Nothing is deleted by that.
- 'Duplicate SOP Instance' (0111) says that the peer already holds the instance, which is what a
  resend under the same UID comes to: stored, with a warning.
- A status on no list is retried briefly; no status, a pending one, or 'cancelled' is no answer
  and is retried.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Disposition(enum.StrEnum):
    """What becomes of an object after an answer about it."""

    STORED = "stored"
    WARNED = "stored with warning"
    RETRY = "retry"
    RETRY_BRIEFLY = "retry briefly"
    """As RETRY, but only for the first ``send.brief_attempts`` attempts of the delivery."""
    DEAD = "dead"

    @property
    def stored(self) -> bool:
        """Whether the peer has the object."""
        return self in (Disposition.STORED, Disposition.WARNED)


@dataclass(frozen=True, slots=True)
class StatusRule:
    """The meaning of the statuses `first` to `last`, both included.

    Attributes:
        first: lowest status.
        last: highest status.
        disposition: what becomes of the object.
        text: the rule in the standard's words.
    """

    first: int
    last: int
    disposition: Disposition
    text: str


_STORED, _WARNED = Disposition.STORED, Disposition.WARNED
_RETRY, _BRIEFLY, _DEAD = Disposition.RETRY, Disposition.RETRY_BRIEFLY, Disposition.DEAD

# Searched in order: a single status stands before the range that holds it.
RULES: tuple[StatusRule, ...] = (
    StatusRule(0x0000, 0x0000, _STORED, "success"),
    StatusRule(0x0001, 0x0001, _WARNED, "warning: requested optional attributes not supported"),
    StatusRule(0x0106, 0x0106, _DEAD, "failure: invalid attribute value"),
    StatusRule(0x0107, 0x0107, _WARNED, "warning: attribute list error"),
    StatusRule(0x0110, 0x0110, _RETRY, "failure: processing failure"),
    StatusRule(0x0111, 0x0111, _WARNED, "duplicate SOP instance: the peer already holds it"),
    StatusRule(0x0115, 0x0115, _DEAD, "failure: invalid argument value"),
    StatusRule(0x0116, 0x0116, _WARNED, "warning: attribute value out of range"),
    StatusRule(0x0117, 0x0117, _DEAD, "failure: invalid SOP instance"),
    StatusRule(0x0118, 0x0118, _DEAD, "failure: no such SOP class"),
    StatusRule(0x0119, 0x0119, _DEAD, "failure: class-instance conflict"),
    StatusRule(0x0120, 0x0120, _DEAD, "failure: missing attribute"),
    StatusRule(0x0121, 0x0121, _DEAD, "failure: missing attribute value"),
    StatusRule(0x0122, 0x0122, _DEAD, "refused: SOP class not supported"),
    StatusRule(0x0124, 0x0124, _BRIEFLY, "refused: not authorised"),
    StatusRule(0x0210, 0x0210, _RETRY, "failure: duplicate invocation"),
    StatusRule(0x0211, 0x0211, _BRIEFLY, "failure: unrecognised operation"),
    StatusRule(0x0212, 0x0212, _BRIEFLY, "failure: mistyped argument"),
    StatusRule(0x0213, 0x0213, _RETRY, "failure: resource limitation"),
    StatusRule(0xA700, 0xA7FF, _RETRY, "refused: out of resources"),
    StatusRule(0xA800, 0xA8FF, _DEAD, "refused: SOP class not supported (retired)"),
    StatusRule(0xA900, 0xA9FF, _DEAD, "error: data set does not match SOP class"),
    StatusRule(0xB000, 0xB000, _WARNED, "warning: coercion of data elements"),
    StatusRule(0xB006, 0xB006, _WARNED, "warning: elements discarded"),
    StatusRule(0xB007, 0xB007, _WARNED, "warning: data set does not match SOP class"),
    StatusRule(0xB000, 0xBFFF, _WARNED, "warning"),
    StatusRule(0xC000, 0xCFFF, _BRIEFLY, "error: cannot understand"),
    StatusRule(0xFE00, 0xFE00, _RETRY, "cancelled, which is no answer to C-STORE"),
    StatusRule(0xFF00, 0xFFFF, _RETRY, "pending, which is no answer to C-STORE"),
)

NO_STATUS = "no status in the answer"
UNKNOWN = "status on no list of the standard"


def judge(status: int | None) -> tuple[Disposition, str]:
    """Return what becomes of the object, and why in one clause.

    Args:
        status: the response's Status (0000,0900), or None when it had none.
    """
    if status is None:
        return Disposition.RETRY, NO_STATUS
    for rule in RULES:
        if rule.first <= status <= rule.last:
            return rule.disposition, f"{status:04X} {rule.text}"
    return Disposition.RETRY_BRIEFLY, f"{status:04X} {UNKNOWN}"
