"""Nurseries are an implementation detail: their exception groups must not reach those who did not open them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


def _cancelled(exception: BaseException) -> bool:
    """It is a cancellation, or a group of nothing else."""
    if isinstance(exception, BaseExceptionGroup):
        return exception.split(trio.Cancelled)[1] is None
    return isinstance(exception, trio.Cancelled)


@contextmanager
def unwrapped() -> Iterator[None]:
    """Let an exception that the one nursery of the block wrapped come out as itself, be it a group or not.

    Cancellations beside it are dropped: whoever is cancelled will meet the cancellation again at the next
    checkpoint.  Two or more other exceptions stay a group, for none of them may be lost.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        others = [each for each in group.exceptions if not _cancelled(each)]
        if len(others) > 1:
            raise
        single = others[0] if others else group.exceptions[0]
        context = single.__context__
        try:
            raise single
        finally:
            single.__context__ = context
            del group, others, single, context
