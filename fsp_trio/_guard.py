"""One task at a time: a lock that complains instead of waiting."""

from __future__ import annotations

from types import TracebackType

from fsp_trio.errors import FSPBusyError


class Guard:
    """A context manager that raises FSPBusyError when it is entered while another task is inside."""

    __slots__ = ("_held", "_message")

    def __init__(self, message: str) -> None:
        self._message = message
        self._held = False

    @property
    def held(self) -> bool:
        """A task is inside."""
        return self._held

    def __enter__(self) -> None:
        if self._held:
            raise FSPBusyError(self._message)
        self._held = True

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held = False
