"""Passwords, each made from one key and the name of whose it is, so that none has to be kept."""

import hmac
import os
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

from kennel.domain import Secret, Tenant
from kennel.errors import Rejected, Unavailable

OTHERS = 0o007
LEAST = 16
"""Bytes a key has to have."""


class Keys:
    """Derives passwords from the key in a file, which is made if it is not there.

    Reading blocks, and is done once.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._key: bytes | None = None

    def of_tenant(self, tenant: Tenant) -> Secret:
        """Return a tenant's password: HMAC-SHA256 of its name, in letters, digits, - and _."""
        return self._derived(str(tenant))

    def of_snapshot(self, project: str) -> Secret:
        """Return the password of the role that owns a snapshot while it is made."""
        return self._derived(f"{project} snapshot")  # no tenant's name holds a space

    def _derived(self, name: str) -> Secret:
        self._key = self._key or self._read()
        digest = hmac.digest(self._key, name.encode(), sha256)
        return Secret(urlsafe_b64encode(digest).decode().rstrip("="))

    def _read(self) -> bytes:
        try:
            if not self._file.exists():
                self._make()
            key = self._file.read_bytes().strip()
            mode = self._file.stat().st_mode
        except OSError as error:
            raise Unavailable(
                f"postgres: key_file {self._file}: {error.strerror}: all passwords come from it"
            ) from error
        if mode & OTHERS:
            raise Rejected(f"postgres: everybody may use {self._file}: chmod 600 {self._file}")
        if len(key) < LEAST:
            raise Rejected(
                f"postgres: {self._file} holds {len(key)} bytes and needs {LEAST} at least:"
                " head -c 32 /dev/urandom | base64"
            )
        return key

    def _make(self) -> None:
        """Make the key whole or not at all; of two who make one at a time, the first counts."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = self._file.with_name(f".{self._file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(urlsafe_b64encode(secrets.token_bytes(32)))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(made, self._file)
            except FileExistsError:
                return
            _sync_folder(self._file.parent)
        finally:
            made.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
