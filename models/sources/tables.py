"""Tables: the comma-separated files that come with a set."""

from __future__ import annotations

import csv
from pathlib import Path

from models.errors import ModelError


def table(path: Path, needed: frozenset[str]) -> list[dict[str, str]]:
    """Return the rows of a comma-separated file with a header; values without outer blanks.

    Raises:
        ModelError: if the file cannot be read, a needed column is missing or a row is too long or
            too short.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval=None)
            missing = needed - set(reader.fieldnames or ())
            if missing:
                raise ModelError(f"{path}: the column {min(missing)} is missing")
            rows: list[dict[str, str]] = []
            for row in reader:
                if "" in row or None in row.values():
                    raise ModelError(
                        f"{path}: line {reader.line_num} has not the header's number of values"
                    )
                rows.append({name: value.strip() for name, value in row.items()})
            return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ModelError(f"{path}: not a readable table ({error})") from error


def has_columns(path: Path, *names: str) -> bool:
    """Return whether `path` is a table whose first line names all of these columns."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return set(names) <= {name.strip() for name in file.readline().split(",")}
