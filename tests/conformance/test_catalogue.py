"""The catalogues are whole and in order."""

from __future__ import annotations

import pytest

from spec_conformance.catalogue import REVISIONS, Section, load

COUNTS = {"gao-07": 134, "jason-00": 97}


def test_there_is_a_count_for_each() -> None:
    assert tuple(COUNTS) == REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_section_is_there_once(revision: str) -> None:
    catalogue = load(revision)
    assert catalogue.revision == revision
    assert len(catalogue.sections) == COUNTS[revision]
    assert len({section.number for section in catalogue.sections}) == COUNTS[revision]
    assert all(section.title == section.title.strip() != "" for section in catalogue.sections)


@pytest.mark.parametrize("revision", REVISIONS)
def test_sections_follow_each_other_without_a_gap(revision: str) -> None:
    before: tuple[int, ...] = ()
    for section in load(revision).sections:
        path = section.path
        first_child = path == (*before, 1)
        next_of_an_ancestor = (*path[:-1], path[-1] - 1) == before[: len(path)]
        assert first_child or next_of_an_ancestor, section
        assert section.number == ".".join(map(str, path))
        before = path


@pytest.mark.parametrize(
    ("revision", "number", "title"),
    [
        ("gao-07", "5.10", "COMMITTING2"),
        ("gao-07", "8.4.2", "Respond to Transmit Transaction Commitment"),
        ("gao-07", "16", "References"),
        ("jason-00", "4.6", "ACTIVE {A.K.A. ESTABLISHED}"),
        ("jason-00", "16", "References"),
    ],
)
def test_sections_by_number(revision: str, number: str, title: str) -> None:
    assert load(revision).section(number) == Section(number, title)


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="unknown revision 'gao-08'; known: gao-07, jason-00"):
        load("gao-08")
    with pytest.raises(KeyError):
        load("gao-07").section("5.18")
