"""Draws docs/design/states.md from the state table of a revision: `python docs/draw_states.py` rewrites the page."""

from __future__ import annotations

from pathlib import Path

from fsp_trio.revisions import GAO_07, Revision
from fsp_trio.revisions.states import Event, State, Transition

PAGE = Path(__file__).parent / "design" / "states.md"
PARTS = (
    (
        "Opening",
        (State.NON_EXISTENT, State.LISTENING, State.CONNECT_BOOTSTRAP, State.CONNECT_AFFIRMING, State.CHALLENGING),
    ),
    (
        "Connected",
        (State.ACTIVE, State.COMMITTING, State.COMMITTED, State.PEER_COMMIT, State.COMMITTING2, State.CLOSABLE),
    ),
    ("Closing", (State.SHUT_REQUESTED, State.PRE_CLOSED, State.CLOSED)),
    ("Multiplication", (State.CLONING,)),
)
EVERYWHERE = frozenset({Event.RESET, Event.RCV_RESET, Event.IDLE_TIMEOUT})


def label(transition: Transition) -> str:
    text = transition.event.value
    if transition.flushing is not None:
        text += ", flushing" if transition.flushing else ", not flushing"
    return f"{text} / {transition.reply.value}" if transition.reply.value else text


def diagram(revision: Revision, states: tuple[State, ...]) -> list[str]:
    lines = ["```mermaid", "stateDiagram-v2"]
    edges: dict[tuple[State, State], list[str]] = {}
    for transition in revision.states.transitions:
        if transition.state in states and transition.event not in EVERYWHERE:
            edges.setdefault((transition.state, transition.successor), []).append(label(transition))
    for (source, target), labels in edges.items():
        if source is not target:
            lines.append(f"    {source.name} --> {target.name} : {'; '.join(labels)}")
    return [*lines, "```", ""]


def table(revision: Revision, states: tuple[State, ...]) -> list[str]:
    lines = ["| section | state | event | sends | next state |", "|---|---|---|---|---|"]
    lines += [
        f"| {t.section} | {t.state.name} | {label(t).split(' / ')[0]} | {t.reply.value} | {t.successor.name} |"
        for t in revision.states.transitions
        if t.state in states
    ]
    return [*lines, ""]


def page(revision: Revision) -> str:
    lines = [
        f"# The states of {revision.name}",
        "",
        "Drawn from `fsp_trio/revisions/gao_07_states.py` by `docs/draw_states.py`; a test keeps both alike.",
        "Reset by either side and the idle time-out lead to NON_EXISTENT from every connected state; the diagrams",
        "leave them out, the tables have them.",
        "",
    ]
    for title, states in PARTS:
        lines += [f"## {title}", "", *diagram(revision, states), *table(revision, states)]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(GAO_07))
