"""Letters: our own text in ASCII, which every character set of DICOM and every font can hold."""

from __future__ import annotations

import unicodedata

_ASCII = str.maketrans(
    {
        "–": "-",
        "—": "-",
        "−": "-",
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
        "…": "...",
        "²": "2",
        "³": "3",
        "µ": "u",
        "×": "x",
        "±": "+-",
        "≤": "<=",
        "≥": ">=",
        "°": " deg",
        "\\": "/",
    }
)
_LATIN = str.maketrans(
    {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "Ä": "Ae",
        "Ö": "Oe",
        "Ü": "Ue",
        "ß": "ss",
        "æ": "ae",
        "Æ": "Ae",
        "ø": "oe",
        "Ø": "Oe",
        "œ": "oe",
        "Œ": "Oe",
        "ł": "l",
        "Ł": "L",
        "đ": "d",
        "Đ": "D",
        "þ": "th",
        "Þ": "Th",
        "ð": "d",
        "ı": "i",
        "«": '"',
        "»": '"',
        "„": '"',
        "¿": "",
        "¡": "",
    }
)


def plain(text: str) -> str:
    """Return our own text in ASCII, with a question mark for what has no equal there."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def latin(text: str) -> str:
    """Return text of a Latin script in ASCII: umlauts as two letters, others without accents."""
    written = unicodedata.normalize("NFC", text).translate(_LATIN).translate(_ASCII)
    bare = unicodedata.normalize("NFKD", written)
    return plain("".join(letter for letter in bare if not unicodedata.combining(letter)))


def is_latin(text: str) -> bool:
    """Tell whether `latin` loses nothing but accents."""
    return latin(text).count("?") == text.count("?")
