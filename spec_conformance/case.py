"""Cases: what they are, and where they are found."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from spec_conformance import cases
from spec_conformance.bench import Bench
from spec_conformance.catalogue import Catalogue, Statement, load

Script: TypeAlias = Callable[[Bench], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """A test of one rule, or of one and what goes with it."""

    id: str
    """That of its first statement; `:variant` behind it where a statement has several cases."""
    revision: str
    statements: tuple[str, ...]
    role: str
    """Of the target: "responder" or "initiator"."""
    needs: tuple[str, ...]
    """Capabilities of the target."""
    service: str
    slow: bool
    """It waits for seconds: not for a run over sockets unless it is asked for."""
    quick: bool
    """It belongs to the first look at an implementation."""
    alone: bool
    """It uses up what all connections of a target share: it runs after the others, by itself."""
    script: Script

    @property
    def statement(self) -> Statement:
        """The rule whose level and kind the case has."""
        return self.catalogue.statement(self.statements[0])

    @property
    def catalogue(self) -> Catalogue:
        return load(self.revision)

    @property
    def section(self) -> str:
        return self.statements[0].partition("/")[0]

    @property
    def words(self) -> str:
        """What the case does, from its docstring, or what its rule says."""
        return (self.script.__doc__ or self.statement.text).strip().partition("\n")[0]


_REGISTRY: Final[dict[str, dict[str, Case]]] = {"gao-07": {}, "jason-00": {}}


class DuplicateCase(ValueError):
    """Two cases claim one id."""


def case(
    revision: str,
    case_id: str,
    *also: str,
    role: str = "responder",
    needs: tuple[str, ...] = (),
    service: str = "echo",
    slow: bool = False,
    quick: bool = False,
    alone: bool = False,
) -> Callable[[Script], Script]:
    """Make a case of an async function that takes a Bench.

    `case_id` is the id of the statement that it tests, with `:variant` if there are several; `also` names further
    statements that it tests with the same packets.
    """

    def register(script: Script) -> Script:
        known = _REGISTRY[revision]
        if case_id in known:
            raise DuplicateCase(f"{revision}: two cases are called {case_id}")
        statements = (case_id.partition(":")[0], *also)
        known[case_id] = Case(case_id, revision, statements, role, needs, service, slow, quick, alone, script)
        return script

    return register


def all_cases(revision: str) -> dict[str, Case]:
    """The cases of a draft by id, in the order of its sections."""
    _import_all()
    found = _REGISTRY[revision]
    order = {statement.id: place for place, statement in enumerate(load(revision).statements)}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[1].statements[0], -1), item[0])))


def _import_all() -> None:
    for package in pkgutil.iter_modules(cases.__path__, f"{cases.__name__}."):
        if package.ispkg:
            inner = importlib.import_module(package.name)
            for module in pkgutil.iter_modules(inner.__path__, f"{inner.__name__}."):
                importlib.import_module(module.name)
