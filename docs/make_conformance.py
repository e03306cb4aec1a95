"""Make the table of coverage in docs/conformance.md from the catalogue and the cases."""

from __future__ import annotations

from pathlib import Path

from spec_conformance.catalogue import REVISIONS, load
from spec_conformance.coverage import AWAITED, coverage

PAGE = Path(__file__).parent / "conformance.md"
MARK = "<!-- coverage: made by python docs/make_conformance.py -->"


def table(revision: str) -> list[str]:
    """Top-level sections with everything below them."""
    lines = [
        f"### {load(revision).document}",
        "",
        "| section | title | statements | with a case | excepted | awaited | open | cases |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    found = coverage(revision)
    for number, top in found.items():
        if "." in number:
            continue
        parts = [each for other, each in found.items() if other == number or other.startswith(f"{number}.")]
        sums = [
            sum(each.statements for each in parts),
            sum(each.covered for each in parts),
            sum(each.excepted for each in parts),
            sum(len(each.awaited) for each in parts),
            sum(len(each.open) for each in parts),
            sum(each.cases for each in parts),
        ]
        lines.append(f"| {number} | {top.title} | " + " | ".join(map(str, sums)) + " |")
    return [*lines, ""]


def page() -> str:
    """The page with its table made anew."""
    head, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    awaited = ["Awaited are statements whose case waits for a target that can do what they are about:", ""]
    awaited += [f"* `{capability}`: {reason}" for capability, reason in AWAITED.items()]
    return head + "\n".join([MARK, "", *awaited, "", *(line for revision in REVISIONS for line in table(revision))])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
