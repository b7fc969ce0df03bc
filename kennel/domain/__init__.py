"""The words Kennel thinks in: plain, frozen values. No I/O, nothing but the standard library."""

from kennel.domain.environment import Environment, environment_of
from kennel.domain.event import (
    Event,
    Ignored,
    Ping,
    PullRequestChanged,
    PullRequestClosed,
    RefChanged,
    RefDeleted,
    Repository,
)
from kennel.domain.manifest import Errand, Manifest, Outputs, Ready, Release, Seed, Service, Site
from kennel.domain.route import Files, Route, Socket, Target, Upstream
from kennel.domain.secret import Env, Secret
from kennel.domain.secretspec import Declaration, Reference, SecretSpec
from kennel.domain.tenant import Key, Ref, RefKind, Tenant
from kennel.domain.unit import Limits, Unit, UnitState, UnitStatus

__all__ = [
    "Declaration",
    "Env",
    "Environment",
    "Errand",
    "Event",
    "Files",
    "Ignored",
    "Key",
    "Limits",
    "Manifest",
    "Outputs",
    "Ping",
    "PullRequestChanged",
    "PullRequestClosed",
    "Ready",
    "Ref",
    "RefChanged",
    "RefDeleted",
    "RefKind",
    "Reference",
    "Release",
    "Repository",
    "Route",
    "Secret",
    "SecretSpec",
    "Seed",
    "Service",
    "Site",
    "Socket",
    "Target",
    "Tenant",
    "Unit",
    "UnitState",
    "UnitStatus",
    "Upstream",
    "environment_of",
]
