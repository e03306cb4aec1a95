"""Deliberate violations of the protocol, one small change of the library each, and the case that must notice.

A mutant replaces a few words in the source of one function, or a field of the revision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from fsp_trio.revisions import REVISIONS
from tests.mutation import changed


@dataclass(frozen=True, slots=True)
class Mutant:
    """`place` is module and function below fsp_trio, or "revision" and `old` the name of a field."""

    name: str
    place: str
    old: str
    new: Any
    case: str
    """The one that fails."""
    revision: str = "gao-07"

    @property
    def chapter(self) -> str:
        return self.case.partition("/")[0].partition(".")[0]

    @contextmanager
    def alive(self) -> Iterator[None]:
        """The library is wrong for the time of the block."""
        if self.place == "revision":
            wrong = replace(REVISIONS[self.revision], **{self.old: self.new})
            with mock.patch.dict(REVISIONS, {self.revision: wrong}):
                yield
            return
        with changed(self.place, self.old, self.new):
            yield
