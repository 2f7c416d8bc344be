"""Forms: what a page of ours posts, with a limit on its size, before a page reads it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import FormData
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from gatekeeper.admin.routing import console_of
from gatekeeper.errors import GatekeeperError

MAXIMUM_FILES = 50
MAXIMUM_FIELDS = 2000


class FormRefused(GatekeeperError):
    """A form that is too large, or none; says which limit it is over."""


async def _posted(request: Request) -> AsyncGenerator[FormData]:
    """Yield what was posted; its files are gone afterwards.

    Raises:
        FormRefused: if it is larger than `web.maximum_form_mib`, or does not parse.
    """
    form = await _parsed(request, console_of(request).settings.web.maximum_form_mib)
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


async def _parsed(request: Request, mib: int) -> FormData:
    received = 0

    async def bounded() -> AsyncGenerator[bytes]:
        nonlocal received
        async for chunk in request.stream():
            received += len(chunk)
            if received > mib << 20:
                raise FormRefused(f"the form is over {mib} MiB (web.maximum_form_mib)")
            yield chunk

    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        parser = MultiPartParser(
            request.headers, bounded(), max_files=MAXIMUM_FILES, max_fields=MAXIMUM_FIELDS
        )
        try:
            return await parser.parse()
        except (MultiPartException, KeyError) as error:
            raise FormRefused(f"the form does not parse: {error}") from None
    if kind == "application/x-www-form-urlencoded":
        return await FormParser(request.headers, bounded()).parse()
    return FormData()
