"""Webhook requests on their way through the inbox."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A webhook that was verified and is to be kept.

    `forge` is the name of the forge plugin that understands it. `project`: the full name of the
    repository, for people. `headers`: lower case, without signatures and credentials.
    `received_at`: seconds since the epoch.
    """

    forge: str
    event: str
    delivery_id: str
    project: str
    headers: Mapping[str, str]
    body: bytes
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDelivery:
    """A delivery that was kept and answered, and that nothing has been done about yet."""

    id: int
    forge: str
    headers: Mapping[str, str]
    body: bytes
