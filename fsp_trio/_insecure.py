"""A warning, once per process, for revisions that are there for interoperation and not for use."""

from __future__ import annotations

import warnings

from fsp_trio.revisions import Revision


class InsecureRevisionWarning(UserWarning):
    """A revision was chosen whose encryption is broken by design."""


_warned: set[str] = set()


def warn_of(revision: Revision) -> None:
    """Warn of a revision that repeats nonces, when it is first used."""
    if revision.name not in _warned:
        _warned.add(revision.name)
        warnings.warn(
            f"revision {revision.name} repeats nonces: whatever it encrypts can be read (docs/security.md)",
            InsecureRevisionWarning,
            stacklevel=4,
        )
