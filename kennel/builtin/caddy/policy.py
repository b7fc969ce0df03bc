"""How certificates are had. Pure."""

from collections.abc import Collection
from typing import Any

from kennel.builtin.caddy.config import Config

Json = dict[str, Any]


def policy(config: Config, subjects: Collection[str]) -> Json:
    """Return the automation policy for hosts, or for every host if there are none.

    Always on demand: the certificates of two hundred previews at once would run into the limits
    of the authority.
    """
    made: Json = {"on_demand": True, "issuers": [_issuer(config)]}
    return {**made, "subjects": sorted(subjects)} if subjects else made


def _issuer(config: Config) -> Json:
    if config.tls_mode == "internal":
        return {"module": "internal"}
    given = {"ca": config.acme_ca, "email": config.email}
    return {"module": "acme", **{key: value for key, value in given.items() if value}}
