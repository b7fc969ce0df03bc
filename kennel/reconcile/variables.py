"""The environment variables of a service, and the digest that tells when they have changed."""

import hmac
import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import structlog

from kennel.domain import Env, Environment, Manifest, Secret, Service, Tenant
from kennel.errors import Rejected
from kennel.plugin import Provisioner

log = structlog.get_logger(__name__)


async def provisioned(
    tenant: Tenant, manifest: Manifest, provisioners: Mapping[str, Provisioner]
) -> Env:
    """Give the tenant the resources its manifest asks for; return how to reach them.

    Raises Rejected for a resource that is not on, and whatever a provisioner raises.
    """
    env: dict[str, Secret] = {}
    for name, options in sorted(manifest.resources.items()):
        if name not in provisioners:
            there = ", ".join(sorted(provisioners)) or "none"
            raise Rejected(
                f"resource {name!r} is not to be had here; there is: {there}."
                f" An operator adds it with a [plugins.{name}] table in kennel.toml"
            )
        env |= await provisioners[name].ensure(tenant, options)
    return env


def for_service(
    service: Service, *, tenant: Tenant, environment: Environment, url: str, given: Env
) -> Env:
    """Return everything a service finds in its environment, except PORT and HOST.

    What Kennel provisions (`given`) wins over what the manifest sets, and KENNEL_* over both.
    """
    own = {name: Secret(value) for name, value in service.environment.items()}
    if shadowed := sorted(own.keys() & given.keys()):
        log.warning(
            "variables of the manifest give way to provisioned ones",
            tenant=str(tenant),
            service=service.name,
            variables=shadowed,
        )
    facts = {
        "KENNEL_PROJECT": tenant.project,
        "KENNEL_REF": str(tenant.ref),
        "KENNEL_ENVIRONMENT": str(environment),
        "KENNEL_URL": url,
    }
    return {**own, **given, **{name: Secret(value) for name, value in facts.items()}}


def listening(env: Env, *, port: int | None, address: str = "127.0.0.1") -> Env:
    """Return the environment with where to listen in it, if anywhere."""
    if port is None:
        return env
    return {**env, "PORT": Secret(str(port)), "HOST": Secret(address)}


class Fingerprint:
    """Digests of what a generation is made of.

    They are stored, and environments hold secrets, some easily guessed: so they are keyed, with
    a key that is made once and never leaves its file.
    """

    def __init__(self, key_file: Path) -> None:
        self._key = _key(key_file)

    def of(self, service: Service, command: tuple[str, ...], env: Env, *, restarts: int = 0) -> str:
        """Return the digest of a generation: 64 hexadecimal digits.

        `restarts`: how often its tenant was restarted by hand: each time it is another one.
        """
        more = {
            name: value
            for name, value in (
                ("restarts", restarts),
                ("listens", service.listens),
                ("schedule", service.schedule),
            )
            if value not in {0, True, None}
        }
        parts = {
            **more,
            "command": command,
            "limits": repr(service.limits),
            "env": {name: secret.value for name, secret in env.items()},
        }
        text = json.dumps(parts, sort_keys=True).encode()
        return hmac.new(self._key, text, sha256).hexdigest()


def _key(file: Path) -> bytes:
    if not file.exists():
        draft = file.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_bytes(os.urandom(32))
        draft.rename(file)
    return file.read_bytes()
