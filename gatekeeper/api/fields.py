"""Fields: kinds of values that requests bring, each with its bounds, and the base of answers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

LARGEST_NUMBER = (1 << 31) - 1
_HALF = range(0xD800, 0xE000)


class Answer(BaseModel):
    """Something that is answered; made from the record that has fields of these names."""

    model_config = ConfigDict(from_attributes=True)


class Asked(BaseModel):
    """Something that is asked for; a key that is not known is refused, never passed over."""

    model_config = ConfigDict(extra="forbid")


def _keepable(text: str) -> str:
    if "\0" in text or any(ord(letter) in _HALF for letter in text):
        raise ValueError("must be a text without NUL and half characters")
    return text


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text.strip()


Line = Annotated[str, StringConstraints(max_length=255), AfterValidator(_keepable)]
"""A short text that a database can keep."""
Text = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_keepable)]
"""A text that a database can keep."""
Reason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2000),
    AfterValidator(_keepable),
    AfterValidator(_said),
]
"""Why, in a person's words."""
Number = Annotated[int, Field(ge=1, le=LARGEST_NUMBER)]

StudyUid = Annotated[Line, Path(max_length=64, description="Study Instance UID")]
Ae = Annotated[Line, Path(max_length=16, description="AE title; `/` within it as `%2F`")]
Name = Annotated[Line, Path(max_length=128)]
Limit = Annotated[int, Query(ge=1, le=200, description="Most items of the page.")]
After = Annotated[
    str,
    Query(max_length=400, description="`next` of the page before; left out for the first page."),
]
Why = Annotated[
    Line,
    Query(max_length=255, description="Why, for who reads the versions of the configuration."),
]

Json = dict[str, Any]
