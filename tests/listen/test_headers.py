"""What an instance is, told from the first bytes of its data set."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import data_store
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from listen.wire import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    MR,
    data_set_of,
    encoded,
    image,
)
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gatekeeper.errors import RefusedInstance
from gatekeeper.listen.headers import (
    MAXIMUM_BEGINNING,
    MAXIMUM_INFLATED,
    Identity,
    agree,
    identify,
    identify_beginning,
)
from gatekeeper.listen.scan import LARGEST_LAYOUT, Layout, Scan

PLAIN = (IMPLICIT, EXPLICIT, BIG_ENDIAN)


def refusal(data: bytes, syntax: str = EXPLICIT) -> RefusedInstance:
    with pytest.raises(RefusedInstance) as caught:
        identify(data, syntax)
    assert caught.value.status == 0xC000
    return caught.value


@pytest.mark.parametrize("syntax", PLAIN)
def test_identity_is_read_in_every_plain_encoding(syntax: str) -> None:
    """Implicit, explicit and big endian say the same."""
    identity = identify(encoded(image("1.2.3.4.5"), syntax), syntax)

    assert identity.sop_class_uid == MR
    assert identity.sop_instance_uid == "1.2.3.4.5"
    assert identity.study_instance_uid == "1.2.3"
    assert identity.series_instance_uid == "1.2.3.4"
    assert identity.modality == "MR"
    assert not identity.own_marks
    assert identity.deviations == ()


def test_identity_is_read_from_a_deflated_data_set() -> None:
    """The bytes are inflated as far as the identifiers need."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = compressor.compress(encoded(image("1.2.3.4.5"))) + compressor.flush()

    assert identify(data, DEFLATED).sop_instance_uid == "1.2.3.4.5"


def test_a_deflate_bomb_is_inflated_no_further_than_the_bound() -> None:
    """A gigabyte of zeros in a megabyte costs its bound, and is refused."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    private = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 1 << 30)
    bomb = compressor.compress(private)
    for _ in range(8 * MAXIMUM_INFLATED // (1 << 20)):
        bomb += compressor.compress(bytes(1 << 20))

    assert "longer" in refusal(bomb + compressor.flush(), DEFLATED).rule
    assert "inflate" in refusal(b"\xff" * 64, DEFLATED).rule


def test_sequences_before_the_identifiers_are_stepped_over() -> None:
    """Defined and undefined lengths, nested, and UN, whose items are implicit."""
    item = Dataset()
    item.ReferencedSOPClassUID = CT
    item.ReferencedSOPInstanceUID = "9.9.9"
    nested = Dataset()
    nested.PurposeOfReferenceCodeSequence = Sequence([item])
    for undefined in (False, True):
        dataset = image("1.2.3.4.5", SourceImageSequence=Sequence([nested, item]))
        dataset["SourceImageSequence"].is_undefined_length = undefined
        nested.is_undefined_length_sequence_item = undefined
        for syntax in PLAIN:
            assert identify(encoded(dataset, syntax), syntax).series_instance_uid == "1.2.3.4"
    unknown = struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF)
    content = struct.pack("<HHL", 0x0009, 0x1002, 4) + b"abcd"
    items = (
        struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
        + content
        + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
        + struct.pack("<HHL", 0xFFFE, 0xE000, len(content))
        + content
        + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    )
    assert identify(inserted(unknown + items), EXPLICIT).series_instance_uid == "1.2.3.4"


def inserted(element: bytes) -> bytes:
    """Return an image with an element of group 0009 in its place."""
    dataset = image("1.2.3.4.5")
    head = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "Modality"):
        head[keyword] = dataset[keyword]
        del dataset[keyword]
    return encoded(head) + element + encoded(dataset)


def test_deep_sequences_are_refused_and_do_not_crash() -> None:
    """However deep, and however often: no recursion, one rule."""
    opened = struct.pack("<HH2sHL", 0x0009, 0x1001, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    for depth in (200, 100_000):
        assert "nest" in refusal(inserted(opened * depth)).rule


def test_absurd_lengths_are_refused() -> None:
    """An element that claims more than there is ends the scan."""
    for length in (1000, 0xFFFFFFFE):
        element = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, length)
        assert "longer" in refusal(encoded(image("1.2.3"))[:20] + element).rule
    assert "longer" in refusal(encoded(image("1.2.3"))[:30]).rule


def test_endless_small_elements_are_refused() -> None:
    """The work for one header has a bound."""
    element = struct.pack("<HH2sH", 0x0009, 0x1001, b"LO", 0)

    assert "elements" in refusal(element * 500_001).rule


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
def test_a_missing_or_empty_uid_is_refused(keyword: str) -> None:
    """Without all four the object cannot be filed."""
    dataset = image("1.2.3.4.5")
    delattr(dataset, keyword)
    assert "missing" in refusal(encoded(dataset)).rule

    setattr(dataset, keyword, "")
    assert "empty" in refusal(encoded(dataset)).rule


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    "uid",
    [
        "3f0c9b7e-9a4b-4e2f-8f0e-1b2c3d4e5f60",
        "2.25.3F0C9B7E9A4B4E2F8F0E1B2C3D4E5F60",
        "1.2.840.00123.4",
        "05fa52f0e599f17b8186ff18fcdf2b5570a52206a75c4d03afebf5c475dc8758",
        "1.2..3",
    ],
)
def test_a_malformed_uid_that_harms_nobody_is_carried(uid: str) -> None:
    """Hospitals send them; the study is a real one, so it is kept and the deviation is told."""
    identity = identify(encoded(image("1.2.3.4.5", study=uid)), EXPLICIT)

    assert identity.study_instance_uid == uid
    assert identity.deviations == ("a UID breaks PS3.5 9.1",)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.filterwarnings("ignore:A value of type")
@pytest.mark.parametrize(
    "uid",
    ["../../etc/x", "/etc/passwd", "1.2.3 4", "1.2\t3", ".1.2", "1" * 65, "1.2.3\\1.2.4", "ü.1"],
)
def test_a_uid_beyond_carrying_is_refused(uid: str) -> None:
    """Nothing with a path, a control character, a second value or too many characters."""
    for where in ("study", "series"):
        data = encoded(image("1.2.3.4.5"))
        old = {"study": b"1.2.3\x00", "series": b"1.2.3.4\x00"}[where]
        new = uid.encode() + b"\x00" * (len(uid.encode()) % 2)
        at = data.rindex(struct.pack("<H", len(old)) + old)
        data = data[:at] + struct.pack("<H", len(new)) + new + data[at + 2 + len(old) :]
        assert "9.1" in refusal(data).rule


def test_an_identifier_given_twice_is_refused() -> None:
    """Which of the two a reader believes is anyone's guess."""
    once = struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", 6) + b"1.2.4\0"

    assert "twice" in refusal(once + encoded(image("1.2.3.4.5"))).rule


def test_a_data_set_in_the_other_vr_encoding_is_carried() -> None:
    """Implicit under an explicit syntax, and the reverse, as some senders do."""
    for used, negotiated in ((IMPLICIT, EXPLICIT), (EXPLICIT, IMPLICIT)):
        identity = identify(encoded(image("1.2.3.4.5"), used), negotiated)

        assert identity.sop_instance_uid == "1.2.3.4.5"
        assert identity.deviations == ("VR encoding is not the negotiated one (PS3.5 10)",)


def test_own_marks_are_manufacturer_and_model_together() -> None:
    """One of the two is no proof."""
    both = image("1.2.3", Manufacturer="Gatekeeper", ManufacturerModelName="Gatekeeper")
    one = image("1.2.3", Manufacturer="Gatekeeper", ManufacturerModelName="Scanner")
    other = image("1.2.3", Manufacturer="Gatekeeper")

    assert identify(encoded(both), EXPLICIT).own_marks
    assert not identify(encoded(one), EXPLICIT).own_marks
    assert not identify(encoded(other), EXPLICIT).own_marks


def test_a_data_set_that_is_not_what_the_command_says_is_refused() -> None:
    """0xA900, as the standard has it, for class and instance alike."""
    identity = identify(encoded(image("1.2.3.4.5")), EXPLICIT)
    agree(identity, MR, "1.2.3.4.5")

    for sop_class, instance in ((CT, "1.2.3.4.5"), (MR, "1.2.3.4.6")):
        with pytest.raises(RefusedInstance) as caught:
            agree(identity, sop_class, instance)
        assert caught.value.status == 0xA900


@pytest.mark.parametrize("syntax", [*PLAIN, DEFLATED])
def test_every_beginning_says_the_same_or_asks_for_more(syntax: str) -> None:
    """Cut anywhere, sequences of undefined length included: never another answer."""
    item = Dataset()
    item.ReferencedSOPClassUID = CT
    dataset = image("1.2.3.4.5", SourceImageSequence=Sequence([item]))
    dataset["SourceImageSequence"].is_undefined_length = True
    data = encoded(dataset, EXPLICIT if syntax == DEFLATED else syntax)
    if syntax == DEFLATED:
        compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = compressor.compress(data) + compressor.flush()
    whole = identify(data, syntax)
    answers = [identify_beginning(data[:length], syntax) for length in range(len(data) + 1)]

    first = answers.index(whole)
    assert answers == [None] * first + [whole] * (len(answers) - first)


def test_identifiers_too_far_behind_are_refused() -> None:
    """A data set without them in its first 4 MiB is not waited for any longer."""
    private = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, MAXIMUM_BEGINNING)
    data = inserted(private + bytes(MAXIMUM_BEGINNING))
    assert identify(data, EXPLICIT).series_instance_uid == "1.2.3.4"
    assert identify_beginning(data[: MAXIMUM_BEGINNING - 1], EXPLICIT) is None
    with pytest.raises(RefusedInstance) as caught:
        identify_beginning(data[:MAXIMUM_BEGINNING], EXPLICIT)
    assert (caught.value.status, "MiB" in caught.value.rule) == (0xC000, True)


@given(st.binary(max_size=400), st.sampled_from((*PLAIN, DEFLATED)))
def test_no_bytes_crash_the_scan(data: bytes, syntax: str) -> None:
    """Noise is refused, whatever it is."""
    for scan in (identify, identify_beginning):
        try:
            scan(data, syntax)
        except RefusedInstance as refused:
            assert refused.status == 0xC000


@given(
    st.sampled_from(PLAIN),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_no_mutation_crashes_the_scan(syntax: str, changes: list[tuple[int, int]]) -> None:
    """A real data set with some bytes changed is identified or refused."""
    data = bytearray(encoded(image("1.2.3.4.5"), syntax))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        identify(bytes(data), syntax)
    except RefusedInstance as refused:
        assert refused.status == 0xC000


def with_items(uid: str) -> Dataset:
    """Return an image whose scan enters items of undefined length before it reaches the UIDs."""
    item = Dataset()
    item.ReferencedSOPClassUID = CT
    item.ReferencedSOPInstanceUID = uid
    dataset = image(uid, SourceImageSequence=Sequence([item]))
    dataset["SourceImageSequence"].is_undefined_length = True
    return dataset


def answer(
    data: bytes, syntax: str, known: dict[str, Layout] | None = None
) -> Identity | tuple[int, str] | None:
    try:
        return identify_beginning(data, syntax, known)
    except RefusedInstance as refused:
        return refused.status, refused.rule


@pytest.mark.parametrize("syntax", PLAIN)
def test_an_image_laid_out_as_the_one_before_it_is_not_scanned(
    syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its values are its own all the same; one that is laid out otherwise is scanned."""
    known: dict[str, Layout] = {}
    identify_beginning(encoded(with_items("1.2.3.4.5"), syntax), syntax, known)
    alike = encoded(with_items("1.2.3.4.6"), syntax)
    longer = encoded(with_items("1.2.3.4.777"), syntax)

    with monkeypatch.context() as forbidding:
        forbidding.setattr(Scan, "elements", None)
        found = identify_beginning(alike, syntax, known)
        with pytest.raises(TypeError):
            identify_beginning(longer, syntax, known)

    assert found is not None
    assert (found.sop_instance_uid, found) == ("1.2.3.4.6", identify(alike, syntax))
    assert answer(longer, syntax, known) == identify(longer, syntax)


@given(
    st.sampled_from(PLAIN),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    st.integers(0, 600),
)
def test_a_known_layout_changes_no_answer(
    syntax: str, changes: list[tuple[int, int]], cut: int
) -> None:
    """Whatever bytes differ from those of the image before, and wherever the data set is cut."""
    data = bytearray(encoded(with_items("1.2.3.4.5"), syntax))
    known: dict[str, Layout] = {}
    identify_beginning(bytes(data), syntax, known)
    assert known
    for position, value in changes:
        data[position % len(data)] = value

    for part in (bytes(data), bytes(data[:cut])):
        assert answer(part, syntax, dict(known)) == answer(part, syntax)


@pytest.mark.filterwarnings("ignore")
def test_values_that_a_peer_makes_long_are_not_held_afterwards() -> None:
    """Whatever is remembered from one image for the next has a bound."""

    def take(number: int) -> None:
        maker = f"{number:04d}" * (1 << 16)
        data = encoded(image("1.2.3.4.5", Manufacturer=maker), IMPLICIT)
        assert identify_beginning(data, IMPLICIT, {}) is not None

    tracemalloc.start()
    try:
        for number in range(16):
            take(number)
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()


def test_transfer_syntaxes_are_remembered_one_at_a_time() -> None:
    """An association that brings many holds one layout."""
    known: dict[str, Layout] = {}
    for syntax in PLAIN:
        identify_beginning(encoded(image("1.2.3.4.5"), syntax), syntax, known)
        assert list(known) == [syntax]


def test_a_layout_too_large_to_remember_is_not_remembered() -> None:
    """Neither are the headers of half a million elements, which a hostile object may have."""
    private = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, LARGEST_LAYOUT)
    data = inserted(private + bytes(LARGEST_LAYOUT))
    known: dict[str, Layout] = {}
    assert identify_beginning(data, EXPLICIT, known) is not None
    assert not known


@pytest.mark.filterwarnings("ignore")
def test_the_scan_agrees_with_pydicom_on_its_whole_test_data() -> None:
    """Every Part 10 file that pydicom and pydicom-data carry: same identity, or refused."""
    folders = [Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent / "data"]
    agreed = 0
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        if path.open("rb").read(132)[128:] != b"DICM":
            continue
        try:
            dataset = dcmread(path, stop_before_pixels=True)
        except (TypeError, ValueError, NotImplementedError, AttributeError):
            continue
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        four = [
            str(dataset.get(keyword) or "")
            for keyword in (
                "SOPClassUID",
                "SOPInstanceUID",
                "StudyInstanceUID",
                "SeriesInstanceUID",
            )
        ]
        if syntax is None or not all(four):
            continue
        identity = identify(data_set_of(path), str(syntax))
        assert [
            identity.sop_class_uid,
            identity.sop_instance_uid,
            identity.study_instance_uid,
            identity.series_instance_uid,
        ] == four, path
        assert identity.modality == dataset.get("Modality", ""), path
        agreed += 1
    assert agreed > 150
