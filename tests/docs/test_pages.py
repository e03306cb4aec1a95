"""Links lead somewhere, code is that of the examples, and nothing speaks of places that readers do not have."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from .pages import EXAMPLES, PAGES, ROOT, anchors, code_blocks, links, name

ELSEWHERE = re.compile(r"(?<![\w/.])(?:/(?:work|tmp|home|root|usr|opt|var|etc|mnt|Users)\b|[A-Z]:\\|~/)\S*")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_resolve(page: Path) -> None:
    for target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{name(page)} links to {target}"
        assert there.is_relative_to(ROOT), f"{name(page)} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{name(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_places_outside_of_the_repository(page: Path) -> None:
    assert ELSEWHERE.findall(page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_is_that_of_the_examples(page: Path) -> None:
    for before, language, text in code_blocks(page):
        if language != "python":
            continue
        source = re.fullmatch(r"<!-- (?P<part>from )?docs/examples/(?P<file>\w+\.py) -->", before)
        assert source is not None, f"{name(page)}: a block of Python that is no example:\n{text}"
        example = (EXAMPLES / source["file"]).read_text().rstrip("\n")
        if source["part"]:
            assert _is_part(text, example), f"{name(page)}: not in {source['file']}:\n{text}"
        else:
            assert text == example, f"{name(page)}: not what {source['file']} says"


def _is_part(text: str, whole: str) -> bool:
    lines = whole.split("\n")
    size = text.count("\n") + 1
    return any(textwrap.dedent("\n".join(lines[at : at + size])) == text for at in range(len(lines) - size + 1))


def test_every_page_is_in_the_map() -> None:
    index = ROOT / "docs" / "index.md"
    known = {(index.parent / target).resolve() for target in links(index)}
    missing = [name(page) for page in PAGES if page.is_relative_to(ROOT / "docs") and page.resolve() not in known]
    assert missing in ([], ["docs/index.md"])
