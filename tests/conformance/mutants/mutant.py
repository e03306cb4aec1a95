"""Deliberate violations of the protocol, one small change of the library each, and the case that must notice.

A mutant replaces a few words in the source of one function, or a field of the revision.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from fsp_trio.revisions import REVISIONS


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
            changed = replace(REVISIONS[self.revision], **{self.old: self.new})
            with mock.patch.dict(REVISIONS, {self.revision: changed}):
                yield
            return
        module_name, _, path = self.place.partition(":")
        module = importlib.import_module(f"fsp_trio.{module_name}")
        *owners, name = path.split(".")
        owner: Any = module
        for each in owners:
            owner = getattr(owner, each)
        found = inspect.getattr_static(owner, name)
        function: Any = found.fget if isinstance(found, property) else found
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.old) == 1, f"{self.name}: {source.count(self.old)} places to change"
        scope: dict[str, Any] = {}
        exec(compile(source.replace(self.old, self.new), f"<{self.name}>", "exec"), module.__dict__, scope)
        with mock.patch.object(owner, name, scope[name]):
            yield
