"""Forms: what a page of ours posts; its size has a limit, `web.maximum_form_mib`, below this."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from gatekeeper.errors import GatekeeperError

MAXIMUM_FILES = 50
MAXIMUM_FIELDS = 2000


class FormRefused(GatekeeperError):
    """A form that does not parse, or has too many fields or files."""


async def _posted(request: Request) -> AsyncGenerator[FormData]:
    """Yield what was posted; its files are gone afterwards.

    Raises:
        FormRefused: if it does not parse, or goes over a limit of this module.
    """
    try:
        form = await request.form(max_files=MAXIMUM_FILES, max_fields=MAXIMUM_FIELDS)
    except (HTTPException, KeyError):
        raise FormRefused(
            f"the form does not parse, or has over {MAXIMUM_FIELDS} fields or {MAXIMUM_FILES} files"
        ) from None
    try:
        yield form
    finally:
        await form.close()


Typed = Annotated[FormData, Depends(_posted)]
"""The form, as an endpoint's argument."""


def word(form: FormData, name: str) -> str:
    """Return what was typed into a field, without blanks around it; empty for nothing."""
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def words(form: FormData, name: str) -> list[str]:
    """Return what was typed into every field of this name, empty ones too."""
    return [value.strip() for value in form.getlist(name) if isinstance(value, str)]


def listed(text: str) -> list[str]:
    """Return the parts of a text with commas or blanks between them."""
    return text.replace(",", " ").split()
