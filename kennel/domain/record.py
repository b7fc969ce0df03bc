"""What the store remembers of projects, refs and builds, as the rest of Kennel sees it."""

from dataclasses import dataclass

from kennel.domain.environment import Environment
from kennel.domain.manifest import Manifest, Outputs
from kennel.domain.secretspec import SecretSpec
from kennel.domain.tenant import Tenant

EVERY_COMMIT = "*"
"""What is approved where every commit of a ref is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A registered repository. `secret`, `token` and `ssh_key` are references."""

    id: int
    name: str
    forge: str
    forge_id: str | None
    full_name: str
    clone_url: str
    default_branch: str
    secret: str | None
    token: str | None
    ssh_key: str | None
    domains: tuple[str, ...]
    previews: bool
    removed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One commit of one ref, on its way.

    `manifest` and `outputs` are there from `built` on, and so are `secrets`, if it declares any.
    """

    id: int
    tenant: Tenant
    commit: str
    state: str
    reason: str
    trusted: bool
    manifest: Manifest | None
    outputs: Outputs | None
    created_at: float
    started_at: float | None
    built_at: float | None
    finished_at: float | None
    released_at: float | None = None
    good_at: float | None = None
    """When it was live for the first time: it can be brought back."""
    secrets: SecretSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRecord:
    """A ref that Kennel has heard of.

    `wanted`: False once it is gone from the forge. `confirmed`: a person ordered that it goes;
    `purged`: with its production data. `head`: the newest commit heard of. `approved`: the commit
    of an untrusted ref that may be built, "*" for every one. `labelled`: whether it has the label
    that approves. `heard_at`: of when the newest news of it is, by the forge's clock. `seeded_at`:
    since when its resources have data: it was seeded, or live.
    """

    id: int
    tenant: Tenant
    environment: Environment
    trusted: bool
    wanted: bool
    active_at: float
    confirmed: bool = False
    purged: bool = False
    pinned: bool = False
    stopped: bool = False
    restarts: int = 0
    head: str = ""
    approved: str = ""
    labelled: bool = False
    heard_at: float | None = None
    seeded_at: float | None = None

    def may_build(self, commit: str) -> bool:
        """Return whether a commit of it may be built: trusted, or approved by a maintainer."""
        return self.trusted or (bool(commit) and self.approved in {commit, EVERY_COMMIT})
