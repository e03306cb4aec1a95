"""`python -m spec_conformance` is the command `fsp-conformance`."""

from spec_conformance.cli import main

main()
