"""Plain tables that can be shown on a terminal or written as Markdown."""

from __future__ import annotations

import dataclasses

import rich.table


@dataclasses.dataclass(slots=True)
class Table:
    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]] = dataclasses.field(default_factory=list)

    def terminal(self) -> rich.table.Table:
        table = rich.table.Table(title=self.title, title_justify="left")
        for number, name in enumerate(self.header):
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        def line(cells: tuple[str, ...]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        rule = "|---|" + "---:|" * (len(self.header) - 1)
        return "\n".join((f"### {self.title}", "", line(self.header), rule, *map(line, self.rows), ""))
