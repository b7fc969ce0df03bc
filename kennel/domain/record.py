"""What the store remembers of projects, refs and builds, as the rest of Kennel sees it."""

from dataclasses import dataclass

from kennel.domain.environment import Environment
from kennel.domain.manifest import Manifest, Outputs
from kennel.domain.tenant import Tenant


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
    """One commit of one ref, on its way. `manifest` and `outputs` are there from `built` on."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRecord:
    """A ref that Kennel has heard of. `wanted` is False once it is gone from the forge."""

    id: int
    tenant: Tenant
    environment: Environment
    trusted: bool
    wanted: bool
    active_at: float
