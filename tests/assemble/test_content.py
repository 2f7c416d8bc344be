"""The digest of a study's content."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.assemble.content import content_digest
from storage.records import Instance
from storage.spool import Digest


def instance(uid: str, content: str = "a") -> Instance:
    return Instance(uid, "1", "1", "1.2.3", "1.2.3.4", "MR", Digest.of(content.encode()), 1, "AE")


@given(st.permutations([f"1.2.{number}" for number in range(6)]), st.integers(0, 5))
def test_order_and_repetition_do_not_matter(order: list[str], again: int) -> None:
    """Shuffled or sent twice, a study is the same study."""
    straight = content_digest(instance(uid) for uid in sorted(order))

    assert content_digest([instance(uid) for uid in [*order, order[again]]]) == straight


def test_every_instance_and_every_byte_matters() -> None:
    """One more, one fewer, another content, another UID: another digest."""
    study = [instance("1.2.1"), instance("1.2.2")]
    digests = {
        content_digest(content)
        for content in (
            study,
            study[:1],
            [],
            [*study, instance("1.2.3")],
            [*study, instance("1.2.2", "b")],
            [instance("1.2.1"), instance("1.2.2", "b")],
            [instance("1.2.1"), instance("1.2.22")],
        )
    }
    assert len(digests) == 7


def test_who_sent_it_and_own_results_do_not_matter() -> None:
    """Our results coming back must not make the study new."""
    study = [instance("1.2.1")]
    own = replace(instance("2.25.1"), own_result=True)

    assert content_digest([*study, own]) == content_digest(study)
    assert content_digest([replace(study[0], source_ae="ROUTER")]) == content_digest(study)
