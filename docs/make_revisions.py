"""Makes the tables of docs/revisions.md from the revisions themselves: `python docs/make_revisions.py`."""

from __future__ import annotations

import ast
import enum
import inspect
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from fsp_trio.revisions import GAO_07, JASON_00, REFERENCE_2020, Revision
from fsp_trio.revisions.states import CONNECTED, Event, State, Transition
from fsp_trio.wire.packets import FLAG_CPR, FLAG_EOT, FLAG_MIND, ExtensionKind, Op

PAGE = Path(__file__).parent / "revisions.md"
MARK = "<!-- {}: made by python docs/make_revisions.py -->"
REVISIONS = (GAO_07, JASON_00, REFERENCE_2020)
HEAD = "| " + " | ".join(revision.name for revision in REVISIONS) + " |"
RULE = "|---" * len(REVISIONS) + "|"
FLAGS = {FLAG_EOT: "EoT", FLAG_MIND: "MIND", FLAG_CPR: "CPR"}
ELSEWHERE = frozenset({"name", "document", "codec", "integrity", "states"})
"""Fields that have tables of their own."""
SPECIMEN = bytes(range(32))
"""Key material to make a key of, so that it can tell what it is."""

FORMATS: tuple[tuple[str, Callable[[Revision], object]], ...] = (
    ("layouts", lambda revision: type(revision.codec)),
    ("before a key", lambda revision: revision.integrity.crc64),
    ("authenticated", lambda revision: revision.integrity.mac),
    ("encrypted", lambda revision: type(revision.integrity.aead(SPECIMEN, 256).batch(1))),
    ("key", lambda revision: revision.integrity.aead),
)


def row(label: str, cells: Iterable[str]) -> str:
    return " | ".join((f"| {label}", *cells)) + " |"


def first_sentence(thing: object) -> str:
    text = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    return text.rstrip(".")


def formats() -> list[str]:
    rows = [row(label, (first_sentence(part(revision)) for revision in REVISIONS)) for label, part in FORMATS]
    return ["| " + HEAD, "|---" + RULE, *rows]


def numbers() -> list[str]:
    """Op codes and the kinds of extension headers."""
    rows = [row(op.name, (str(revision.codec.op_codes.get(op, "")) for revision in REVISIONS)) for op in Op]
    for kind in ExtensionKind:
        codes = (str(revision.codec.extension_codes.get(kind, "")) for revision in REVISIONS)
        rows.append(row(kind.name, codes))
    return ["| code of " + HEAD, "|---" + RULE, *rows]


def documented(thing: type) -> dict[str, str]:
    """What the string below each field says."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            said = text.value.value if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) else ""
            found[field.target.id] = " ".join(str(said).split())
    return found


def spelled(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if name.endswith("_flags"):
        return ", ".join(word for flag, word in FLAGS.items() if flag & value) or "none"
    if isinstance(value, frozenset):
        names = {GAO_07.acknowledging: "all that speak", CONNECTED: "the six connected ones"}
        return names.get(value) or ", ".join(state.name for state in State if state in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, enum.Enum):
        return str(value.value if isinstance(value.value, str) else value.name)
    if isinstance(value, float):
        return f"{value:g} s"
    if isinstance(value, int) and value >= 2**20 and value & (value - 1) == 0:
        return f"2^{value.bit_length() - 1}"
    return str(value)


def settings() -> list[str]:
    texts = documented(Revision)
    rows = []
    for field in fields(Revision):
        if field.name not in ELSEWHERE:
            values = (spelled(field.name, getattr(revision, field.name)) for revision in REVISIONS)
            rows.append(row(f"`{field.name}`: {texts[field.name]}", values))
    return ["| " + HEAD, "|---" + RULE, *rows]


def edges(state: State) -> list[str]:
    """What the revisions do differently in one state."""
    rows = []
    for event in Event:
        both = [[outcome(revision.states.find(state, event, flag)) for revision in REVISIONS] for flag in (False, True)]
        words = ("", "") if both[0] == both[1] else (", not flushing", ", flushing")
        for cells, flushing in dict(zip(map(tuple, both), words, strict=True)).items():
            if len(set(cells)) > 1:
                rows.append(row(f"{state.name}: {event.value}{flushing}", cells))
    return rows


def outcome(transition: Transition | None) -> str:
    if transition is None:
        return "-"
    reply = f" ({transition.reply.value})" if transition.reply.value else ""
    return f"{transition.successor.name}{reply}"


def states() -> list[str]:
    rows = [each for state in State for each in edges(state)]
    return ["| in a state: what happens " + HEAD, "|---" + RULE, *rows]


TABLES: dict[str, Callable[[], list[str]]] = {
    "formats": formats,
    "codes": numbers,
    "numbers and switches": settings,
    "states": states,
}


def page() -> str:
    """The page with its tables made anew: each goes from its mark to the next empty line but one."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        mark = MARK.format(name)
        before, found, rest = text.partition(f"{mark}\n\n")
        assert found, f"no mark for {name}"
        _, _, after = rest.partition("\n\n")
        text = before + found + "\n".join(table()) + "\n\n" + after
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
