"""The library with a few words of one function changed, for the time of a block."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock


@contextmanager
def changed(place: str, old: str, new: str) -> Iterator[None]:
    """`place` is module and function below fsp_trio, "core.authentic:Authentic._open"; `old` must be there once."""
    module_name, _, path = place.partition(":")
    module = importlib.import_module(f"fsp_trio.{module_name}")
    *owners, name = path.split(".")
    owner: Any = module
    for each in owners:
        owner = getattr(owner, each)
    found = inspect.getattr_static(owner, name)
    function: Any = found.fget if isinstance(found, property) else found
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{place}: {source.count(old)} places to change"
    scope: dict[str, Any] = {}
    exec(compile(source.replace(old, new), f"<{place} changed>", "exec"), module.__dict__, scope)
    with mock.patch.object(owner, name, scope[name]):
        yield
