"""The environment variables of a service, and the digest that tells when they have changed."""

import hmac
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import structlog

from kennel.domain import Env, Environment, Manifest, Secret, Service, Tenant, names
from kennel.domain.record import Build, TenantRecord

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the services of a tenant find around them.

    `given`: what Kennel provisions. `urls`: of what has a host, by name. `primary`: which of them
    has the tenant's plain one. `secrets`: those of the tenant; `scopes`: service → the only ones
    that it gets.
    """

    tenant: Tenant
    environment: Environment
    given: Env
    urls: Mapping[str, str]
    primary: str | None
    secrets: Env = field(default_factory=dict)
    scopes: Mapping[str, Collection[str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        record: TenantRecord,
        manifest: Manifest,
        *,
        given: Env,
        urls: Mapping[str, str],
        secrets: Env,
        scopes: Mapping[str, Collection[str]],
    ) -> "Surroundings":
        """Return the surroundings of what a manifest declares for a tenant."""
        return cls(
            tenant=record.tenant,
            environment=record.environment,
            given=given,
            urls=urls,
            primary=names.primary_of(record.tenant.project, manifest),
            secrets=secrets,
            scopes=scopes,
        )

    @property
    def hidden(self) -> Env:
        """Return what nobody is to read in a log line that is kept."""
        return {**self.secrets, **{f"{name} given": one for name, one in self.given.items()}}

    def env(self, service: Service) -> Env:
        """Return everything a service finds in its environment, except PORT and HOST.

        Secrets win over what the manifest sets, what Kennel provisions over both, and KENNEL_*
        over all.
        """
        own = {name: Secret(value) for name, value in service.environment.items()}
        secrets = self._secrets(service)
        self._warn("the manifest", service, own.keys() & (secrets.keys() | self.given.keys()))
        self._warn("secrets", service, secrets.keys() & self.given.keys())
        facts = {
            "KENNEL_PROJECT": self.tenant.project,
            "KENNEL_REF": str(self.tenant.ref),
            "KENNEL_ENVIRONMENT": str(self.environment),
            "KENNEL_URL": self._url(service),
        }
        told = {name: Secret(value) for name, value in facts.items() if value is not None}
        return {**own, **secrets, **self.given, **told}

    def _secrets(self, service: Service) -> Env:
        scope = self.scopes.get(service.name)
        return {n: one for n, one in self.secrets.items() if scope is None or n in scope}

    def _warn(self, whose: str, service: Service, shadowed: Collection[str]) -> None:
        if shadowed:
            log.warning(
                "variables give way to others of the same name",
                of=whose,
                tenant=str(self.tenant),
                service=service.name,
                variables=sorted(shadowed),
            )

    def _url(self, service: Service) -> str | None:
        """Return where people reach a service, or its tenant if it does not listen."""
        return self.urls.get(service.name) or self.urls.get(self.primary or "")


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
        more: dict[str, object] = {"restarts": restarts} if restarts else {}
        if not service.listens:
            more |= {"listens": False, "schedule": service.schedule}
        if files := sorted(name for name, secret in env.items() if secret.as_path):
            more["files"] = files
        return self._digest(
            {
                **more,
                "command": command,
                "limits": repr(service.limits),
                "env": {name: secret.value for name, secret in env.items()},
            }
        )

    def of_given(self, resource: str, env: Env) -> str:
        """Return the digest of how a resource is reached."""
        return self._digest({"resource": resource, "env": {n: s.value for n, s in env.items()}})

    def of_errand(self, name: str, build: Build) -> str:
        """Return the digest of a build's command: it is run once, whatever it finds."""
        return self._digest({name: [build.id, build.commit, build.created_at]})

    def _digest(self, parts: Mapping[str, object]) -> str:
        text = json.dumps(parts, sort_keys=True).encode()
        return hmac.new(self._key, text, sha256).hexdigest()


def _key(file: Path) -> bytes:
    if not file.exists():
        draft = file.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_bytes(os.urandom(32))
        draft.rename(file)
    return file.read_bytes()
