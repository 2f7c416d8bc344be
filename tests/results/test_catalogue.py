"""Texts are data: every language is whole, no sentence is in code, and a bad catalogue is named."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gatekeeper
import models
from gatekeeper.results import codes
from gatekeeper.results.catalogue import CatalogueError, english, languages, read
from gatekeeper.results.letters import is_latin, latin
from gatekeeper.results.texts import Text
from gatekeeper.rules import verdict as rules
from gatekeeper.rules.verdict import Verdict, judge_finding, judge_study
from gatekeeper.work import protocol
from models.finding import Finding, Level

PACKAGE = Path(gatekeeper.__file__).parent
MODELS = Path(models.__file__).parent
GERMAN = (PACKAGE / "results" / "catalogues" / "de.toml").read_text(encoding="utf-8")
SENTENCE = re.compile(
    r"[A-Za-z]{2,}[,;:]? [a-z]{2,}[,;:]? [a-z]{2,}|[A-Z][a-z]+ [a-z]+ \{|\} [a-z]+ [a-z]+"
)
LEVELS = [*vars(rules)["_LOOKS_AT"], "member.focal"]
OTHERS = ("concept.", "said.", "verdict.")
"""Tables whose texts are found by what they are of."""
NO_TEXTS = {"catalogue.py", "codes.py", "kinds.py", "style.py", "uids.py"}
"""Modules of errors' messages, of coded meanings, which stay English, of help for the command line,
of a style, and of what UIDs are derived from."""


# Languages


@pytest.mark.parametrize("language", languages())
def test_every_language_says_everything(language: str) -> None:
    """Each shipped catalogue has the same keys and in each text the same placeholders."""
    found, expected = read(language), english()

    assert found.language == language
    assert list(found.texts) == list(expected.texts)
    for key, text in expected.texts.items():
        assert placeholders(found.texts[key]) == placeholders(text), key


def test_every_text_is_named_and_every_name_has_a_text() -> None:
    """Code names texts by `Text`; verdicts, codes and what the judge says by what they are."""
    own = {key for key in english().texts if not key.startswith(OTHERS)}

    assert own == set(Text)
    assert {f"verdict.{one}" for one in Verdict} == english().texts.keys() & {
        key for key in english().texts if key.startswith("verdict.")
    }


def test_every_code_of_ours_has_a_name() -> None:
    """In English it is the code's meaning, so that page and report say the same."""
    for code in codes.ALL_OURS:
        assert english().concept(code.value) == code.meaning
        assert read("de").concept(code.value)
    assert english().concept("S_OTHER") is None


def test_english_and_german_are_shipped() -> None:
    """English is in ASCII, so that it fits into every object; both can be drawn."""
    assert {"de", "en"} <= set(languages())
    assert english().alphabet.isascii()
    assert is_latin(read("de").alphabet)
    assert not any("?" in latin(text) for text in read("de").texts.values() if "?" not in text)


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


# Code


def strings(path: Path) -> Iterator[str]:
    """Yield the texts in a module's code: no docstring, no error's message."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            left_out |= set(ast.walk(node))
        if isinstance(node, ast.JoinedStr):
            left_out |= set(node.values)
    for node in ast.walk(tree):
        if node not in left_out and isinstance(node, ast.JoinedStr | ast.Constant):
            text = template(node)
            if text is not None:
                yield text


def template(node: ast.expr) -> str | None:
    """Return a literal's text with an empty placeholder for each value in it."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) or "{}" for part in node.values)
    return None


def test_no_sentence_is_in_code() -> None:
    """What the results say is in the catalogues; page and pictures are no exception."""
    modules = [*(PACKAGE / "results").glob("*.py"), PACKAGE / "work" / "compose.py"]
    found = [
        f"{path.name}: {text}"
        for path in modules
        if path.name not in NO_TEXTS
        for text in strings(path)
        if SENTENCE.search(text) and "<" not in text
    ]

    assert len(modules) > 20
    assert found == []


def test_a_sentence_in_code_is_found(tmp_path: Path) -> None:
    """The check means something."""
    path = tmp_path / "code.py"
    path.write_text('"""Doc of this module."""\nraise ValueError("not for a report")\n')
    assert list(strings(path)) == []
    path.write_text('title = f"Anomaly map of {name}"\nnote = "most suspicious slices"\n')
    assert [bool(SENTENCE.search(text)) for text in strings(path)] == [True, True]


# What the judge says


def judged_sentences() -> Iterator[str]:
    """Yield every reason not to read or to assess a series, with a number for each value."""
    for path in (*(PACKAGE / "work").glob("*.py"), *MODELS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                text = template(node.args[0])
                if text is None or node.func.id == "IdentifierError":
                    continue
                if node.func.id in ("UnreadableSeries", "IncompleteSeries"):
                    yield text.replace("{}", "7")
                elif node.func.id == "NotAssessable" and "evaluation" not in path.parts:
                    yield f"Not assessed: {text.replace('{}', '7')}."
    yield from level_questions()
    for words in (
        *vars(protocol)["_DERIVED_TYPES"].values(),
        "one of our own results",
        "a localizer",
    ):
        yield f"Not assessed: {words}."
    for made in ("MR BRAIN (contrast not known)", "MR (body part not stated) T1"):
        yield f"Not assessed: no profile for {made}."
    yield judge_study([]).reason


def level_questions() -> Iterator[str]:
    """Yield what the levels of the models ask."""
    for path in (MODELS / "detectors").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and "QUESTIONS" in ast.unparse(node.targets[0]):
                for question in ast.literal_eval(node.value).values():
                    yield from (question.format(anatomy=one) for one in ("brain", "body"))


def test_every_sentence_of_the_judge_is_known() -> None:
    """What gate, reader and models say has its text in every language."""
    sentences = set(judged_sentences())
    german = read("de")

    assert len(sentences) > 70
    assert [one for one in sorted(sentences) if german.told(one) == one] == []


@given(
    p_value=st.sampled_from([0.0, 0.01, 0.05, 0.06, 0.1, 0.5, 1.0]),
    size=st.sampled_from([1, 7, 19, 57]),
    names=st.lists(st.sampled_from(LEVELS), min_size=1, max_size=4),
    fault=st.sampled_from([
        "", "Slices 3, 4, 5, 6, 7 and others are empty.", "Slices 3, 4 and 7 are empty.",
        "Slice 7 is empty.",
    ]),
)  # fmt: skip
def test_every_verdict_is_told_in_german(
    p_value: float, size: int, names: list[str], fault: str
) -> None:
    """Not one English word is left of any reason that the gate gives, and no number is lost."""
    levels = tuple(Level(name, "?", 1.0, p_value, size, 1.0) for name in names)
    finding = Finding.__new__(Finding)
    for name, value in (
        ("levels", levels),
        ("p_value", p_value),
        ("defects", (fault,) * bool(fault)),
    ):
        object.__setattr__(finding, name, value)
    reason = judge_finding(finding, 0.05).reason
    told = read("de").told(reason)

    assert told != reason
    assert not set(re.findall(r"[a-z]+", told)) & {"the", "of", "and", "scan", "this", "slices"}
    assert amounts(told) == amounts(reason)


def test_a_scanner_without_a_calibration_is_told_in_german() -> None:
    """In words that do not sound like normal."""
    finding = Finding.__new__(Finding)
    level = Level("place", "?", 1.0, 0.5, 19, 1.0)
    for name, value in (("levels", (level,)), ("p_value", 0.5), ("site_calibrated", False)):
        object.__setattr__(finding, name, value)
    reason = judge_finding(finding, 0.05, reference_stands_in=False).reason

    assert read("de").told(reason).startswith("Nicht entschieden: ")


def amounts(text: str) -> list[str]:
    """Return the numbers in a text, in order of size, with a decimal point."""
    return sorted(found.replace(",", ".") for found in re.findall(r"\d+(?:[.,]\d+)*", text))


def test_what_is_not_known_is_told_in_english() -> None:
    """A site's own bundle asks in English; nothing of it is half translated."""
    said = "Is the level of noise and the sharpness as in our own scans?"

    assert read("de").told(said) == said
    assert english().told(said) == said


def test_numbers_are_written_as_in_the_language() -> None:
    """With a comma in German, in what we say and in what is told of the judge."""
    german = read("de")

    assert german.number(0.0625, ".3g") == "0,0625"
    assert english().number(0.0625, ".3g") == "0.0625"
    assert "1.000.000 Voxel" in german.told(
        "Too large: 1,000,000 voxels are declared and 10 are allowed."
    )


def test_what_is_filled_in_is_not_filled_again() -> None:
    """A value with braces in it, such as a series description, stays as it is."""
    said = english().say(Text.OF_SERIES, series="{text}", text="{series} {0} %s")

    assert said == "{text}: {series} {0} %s"


def test_text_is_composed_and_drawn_in_latin_letters() -> None:
    """Umlauts are two letters in pictures; no font that we may count on has them."""
    assert latin("Überprüft: größer – Ærø, Łódź") == "Ueberprueft: groesser - Aeroe, Lodz"
    assert not is_latin("Δεν")
    drawn = read("de").in_ascii
    assert drawn.alphabet.isascii()
    assert drawn.say(Text.RESEARCH) == "Forschung - nicht fuer die Diagnostik"


# A hospital's own


Own = Callable[[str, str], str]


@pytest.fixture
def own(tmp_path: Path) -> Own:
    """Return a function that writes a catalogue of this language and returns its folder."""

    def write(language: str, text: str) -> str:
        (tmp_path / f"{language}.toml").write_text(text, encoding="utf-8", newline="")
        return str(tmp_path)

    return write


def test_a_hospitals_own_catalogue_comes_first(own: Own) -> None:
    """It has an identity of its own, as its texts make other bytes."""
    folder = own("de", GERMAN.replace("Kein Mensch", "Niemand"))

    found = read("de", folder)

    assert "Niemand hat diesen Bericht" in found.say(Text.LIMITS)
    assert found.identity != read("de").identity
    assert read("en", folder) is english()


def test_a_hospitals_own_english_is_another_catalogue(own: Own) -> None:
    """Only the shipped English one leaves UIDs as they were."""
    shipped = (PACKAGE / "results" / "catalogues" / "en.toml").read_text(encoding="utf-8")
    found = read("en", own("en", shipped.replace("Research:", "For research:")))

    assert english().identity == ()
    assert found.identity


def test_a_new_language_is_a_file(own: Own) -> None:
    """Decomposed letters are composed; a script that cannot be drawn has English captions."""
    text = GERMAN.replace('"de"', '"el"').replace("Forschung", "Έρευνα")
    found = read("el", own("el", unicodedata.normalize("NFD", text)))

    assert found.say(Text.RESEARCH).startswith("Έρευνα")
    assert unicodedata.is_normalized("NFC", found.alphabet)
    assert found.in_ascii is english()


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ('limits = "', 'limit = "', "lacks the key report.limits"),
        (
            'label = "Region {number}"',
            'label = " "',
            "segmentation.label must be a text",
        ),
        ("map_unit =", 'more = "x"\nmap_unit =', "has, but en.toml has not, the key said.more"),
        ("{place} von", "{ort} von", "name.slice must have the placeholders: {place}, {total}"),
        ("{place} von", "{place.real} von", "no braces"),
        ("{place} von", "{place!r} von", "no braces"),
        ("Schicht {place}", "Schicht {{place}}", "no braces"),
        ("Schicht {place}", "Schicht\\\\{place}", "no backslash"),
        ("Schicht {place}", "Schicht\\n{place}", "control codes"),
        ("Schicht {place}", "Schicht\\u202e{place}", "control codes"),
        ("Schicht {place}", "x" * 1025 + "{place}", "1024 characters"),
        ('"de"', '"fr"', "its language is not that of its name"),
        ('decimal = ","', 'decimal = ";"', "decimal must be"),
        ('"German"', '"Österreichisch"', "name must be in ASCII"),
        ("decimal", "comma", "must have language, name and decimal"),
        ('"Region {number}"', "7", "must be a text"),
        ("[catalogue]", "limits = 7\n[catalogue]", "limits must be a table"),
        ("[catalogue]", "[[", "not TOML"),
        ("[catalogue]", "#" * (256 << 10) + "\n[catalogue]", "larger than 256 KiB"),
    ],
)
def test_a_catalogue_that_breaks_a_rule_is_refused(own: Own, old: str, new: str, rule: str) -> None:
    """The rule is named, and the key where it is one's."""
    assert old in GERMAN

    with pytest.raises(CatalogueError, match=re.escape(rule)):
        read("de", own("de", GERMAN.replace(old, new, 1)))


def test_a_catalogue_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are named as such."""
    (tmp_path / "de.toml").write_bytes(GERMAN.encode("latin-1"))

    with pytest.raises(CatalogueError, match="not UTF-8"):
        read("de", str(tmp_path))


@pytest.mark.parametrize("language", ["xx", "fr-CH"])
def test_an_unknown_language_is_refused(language: str) -> None:
    """And those that there are are named."""
    with pytest.raises(CatalogueError, match=f"no catalogue {language}.toml.*shipped are: de, en"):
        read(language)


@pytest.mark.parametrize("language", ["", "../de", "DE", "de/..", "deutsch", "d", "de-" + "a" * 20])
def test_what_is_no_language_is_refused(language: str, tmp_path: Path) -> None:
    """A name of a language is never a path."""
    with pytest.raises(CatalogueError, match="not the RFC 5646 tag"):
        read(language, str(tmp_path))


def test_every_catalogue_of_the_folder_is_listed(own: Own) -> None:
    """The hospital's own beside the shipped ones."""
    assert languages(own("fr", "")) == ["de", "en", "fr"]


def test_a_shipped_catalogue_is_read_once() -> None:
    """A report does not cost a parse of the file."""
    assert read("de") is read("de")
