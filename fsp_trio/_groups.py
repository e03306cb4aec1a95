"""Nurseries are an implementation detail: their exception groups must not reach those who did not open them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for exception in group.exceptions:
        if isinstance(exception, BaseExceptionGroup):
            yield from _leaves(exception)
        else:
            yield exception


@contextmanager
def unwrapped() -> Iterator[None]:
    """Let an exception that a nursery inside the block wrapped come out as itself.

    Cancellations beside it are dropped: whoever is cancelled will meet the cancellation again at the next
    checkpoint.  Two or more other exceptions stay a group, for none of them may be lost.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        others = [leaf for leaf in leaves if not isinstance(leaf, trio.Cancelled)]
        if len(others) > 1:
            raise
        single = others[0] if others else leaves[0]
        context = single.__context__
        try:
            raise single
        finally:
            single.__context__ = context
            del group, leaves, others, single, context
