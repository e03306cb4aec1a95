"""The `fsp-trio` command: files from one host to another, an echo service, and its counterpart.

* `app`: commands and options; `main`, the entry point
* `exits`: exit codes, and which error leads to which
* `keys`: reading the pre-shared key
* `protocol`: what `send` and `receive` say to each other; `sending`, `receiving`: who says it
* `names`, `storage`: what becomes of a file name and of octets that a peer sent
* `echoing`: `echo` and `ping`
* `reporting`, `statistics`: what the user sees
* `demo`: the two ends on one machine, for `make demo`
"""

from fsp_trio.cli.app import main

__all__ = ["main"]
