"""Passwords that are derived, not kept: from a key, and from whom they are for."""

import contextlib
import hmac
import secrets
from hashlib import sha256
from pathlib import Path

from kennel.domain import Secret, Tenant
from kennel.errors import Rejected, Unavailable
from kennel_valkey import durable

SHORTEST = 32
"""Bytes of a key that nobody guesses."""


class Key:
    """The key in a file, which is made with a new one where there is none. It blocks."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def password(self, tenant: Tenant, *, purpose: str) -> Secret:
        """Return the tenant's password: 64 hexadecimal digits, the same every time.

        `purpose`: what it is for, so that none is good for two things. Raises Unavailable where
        the key cannot be read, Rejected where it is none.
        """
        message = f"kennel-valkey {purpose}\0{tenant}".encode()
        return Secret(hmac.new(self._read(), message, sha256).hexdigest())

    def _read(self) -> bytes:
        try:
            with contextlib.suppress(FileNotFoundError):
                return self._sound(self._file.read_bytes())
            self._make()
            return self._sound(self._file.read_bytes())
        except OSError as error:
            raise Unavailable(f"valkey: key_file {self._file}: {error.strerror}") from error

    def _sound(self, key: bytes) -> bytes:
        if len(key.strip()) < SHORTEST:
            raise Rejected(
                f"valkey: key_file {self._file} is shorter than {SHORTEST} bytes: put random bytes"
                " there, such as those of `openssl rand -hex 32`, or remove it and Kennel makes one"
            )
        return key.strip()

    def _make(self) -> None:
        """Make the file, unless somebody else does so meanwhile."""
        with durable.alone(self._file):
            if not self._file.exists():
                durable.write(self._file, secrets.token_hex(SHORTEST).encode() + b"\n")


def digest(password: Secret) -> str:
    """Return what a server keeps of a password, and takes in its place."""
    return sha256(password.value.encode()).hexdigest()
