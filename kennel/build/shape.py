"""The shape of kennel.json: what `docs/manifest.schema.json` is made from.

Every key may be null, which is as good as leaving it out: that is what Nix modules write.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from kennel.domain import names

VERSION = 1
MOST_MEMORY = 1 << 50
MOST_HOSTS = 20
"""Custom domains, and redirects, of one service or site."""

Text = Annotated[str, Meta(pattern=r"^[^\x00]*$", max_length=64 * 1024)]
Name = Annotated[
    str,
    Meta(
        pattern=f"^{names.SERVICE.pattern}$",
        description="1 to 39 of a-z, 0-9 and -, with no dash at the ends",
    ),
]
Package = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+'-]{0,127}$",
        description='the name of a package of the flake, such as "api"',
    ),
]
Variable = Annotated[
    str,
    Meta(
        pattern=r"^[A-Z_][A-Z0-9_]*$",
        max_length=256,
        description="an environment variable: A-Z, 0-9 and _, such as LOG_LEVEL",
    ),
]
Host = Annotated[
    str,
    Meta(
        pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$",
        max_length=253,
        description="a host name in lower case, such as shop.example.org",
    ),
]
Hosts = Annotated[
    list[Host],
    Meta(max_length=MOST_HOSTS, description=f"a list of at most {MOST_HOSTS} host names"),
]
HttpPath = Annotated[
    str,
    Meta(pattern=r"^/[!-~]*$", max_length=2048, description="an HTTP path, such as /health"),
]
Timeout = Annotated[float, Meta(gt=0, le=3600, description="seconds, more than 0 and at most 3600")]
ReleaseTimeout = Annotated[
    float, Meta(gt=0, le=86400, description="seconds, more than 0 and at most 86400")
]
Port = Annotated[
    bool, Meta(description="true or false: whether it listens on the port that Kennel gives it")
]
Schedule = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9*@][A-Za-z0-9*,./:~_+@ -]*$",
        max_length=256,
        description='times in systemd\'s notation, such as "daily" or "Mon *-*-* 08:30"',
    ),
]
Bytes = Annotated[
    int, Meta(ge=1024 * 1024, le=MOST_MEMORY, description="bytes, from 1048576 (1 MiB)")
]
Size = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,12}[KMGT]?$", description='such as "512M"')]
Weight = Annotated[int, Meta(ge=1, le=10000, description="a whole number from 1 to 10000")]
Tasks = Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")]
Unsupported = Annotated[
    None, Meta(description="null: Kennel does not set up OpenID Connect clients")
]


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every object in kennel.json."""


class ReadyShape(Shape, frozen=True):
    """When a service is ready: when its port accepts, or when an HTTP path answers 2xx or 3xx."""

    path: HttpPath | None = None
    timeout: Timeout | None = None


class LimitsShape(Shape, frozen=True):
    """What a service may use. The operator's limits hold besides."""

    memory_max: Bytes | Size | None = None
    cpu_weight: Weight | None = None
    tasks_max: Tasks | None = None


class ServiceShape(Shape, frozen=True):
    """A process that listens on $PORT, or does not, or is run at certain times."""

    package: Package | None = None
    args: list[Text] | None = None
    environment: dict[Variable, Text] | None = None
    custom_domain: Host | None = None
    custom_domains: Hosts | None = None
    redirects: Hosts | None = None
    ready: ReadyShape | None = None
    limits: LimitsShape | None = None
    port: Port | None = None
    schedule: Schedule | None = None
    previews: bool | None = None
    oidc: Unsupported = None


class SiteShape(Shape, frozen=True):
    """A folder of files. `spa`: unknown paths answer /index.html."""

    package: Package | None = None
    spa: bool | None = None
    custom_domain: Host | None = None
    custom_domains: Hosts | None = None
    redirects: Hosts | None = None


class StaticSiteShape(Shape, frozen=True):
    """A site, as the devenv module writes it."""

    package_attr: Package | None = None
    spa: bool | None = None
    custom_domain: Host | None = None
    custom_domains: Hosts | None = None
    redirects: Hosts | None = None


class ReleaseShape(Shape, frozen=True):
    """A command that is run once for each build before it becomes live, such as migrations."""

    service: Name | None = None
    package: Package | None = None
    args: list[Text] | None = None
    timeout: ReleaseTimeout | None = None


class SeedShape(Shape, frozen=True):
    """A command that is run once for each ref, when its resources are there for the first time."""

    service: Name | None = None
    package: Package | None = None
    args: list[Text] | None = None
    timeout: ReleaseTimeout | None = None
    production: bool | None = None


class ManifestShape(Shape, frozen=True):
    """What a commit wants to have running. There is at least one service or site."""

    version: int | None = None
    services: dict[Name, ServiceShape] | None = None
    sites: dict[Name, SiteShape] | None = None
    static_sites: dict[Name, StaticSiteShape] | None = None
    resources: list[Name] | dict[Name, dict[str, Any] | None] | None = None
    previews: bool | None = None
    preview_deployments: bool | None = None
    release: ReleaseShape | None = None
    seed: SeedShape | None = None


def schema() -> dict[str, Any]:
    """Return the JSON schema of kennel.json."""
    made = msgspec.json.schema(ManifestShape)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"kennel.json, version {VERSION}",
        **made,
    }
