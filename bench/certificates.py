"""A throw-away certificate (EC P-256) and pre-shared key in a directory."""

from __future__ import annotations

import secrets
from pathlib import Path

import trustme

from .jobs import SERVER_NAME


def write(directory: Path) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    certificate = authority.issue_cert(SERVER_NAME, key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(directory / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    certificate.private_key_pem.write_to_path(directory / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(directory / "certificate.pem")
    (directory / "psk").write_bytes(secrets.token_bytes(32))
