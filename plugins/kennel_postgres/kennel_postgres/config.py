"""What kennel.toml says of PostgreSQL."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, TypeAlias

import msgspec

from kennel.plugin import PluginConfig, SecretReference

Port: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
Dumped: TypeAlias = Literal["never", "long-lived", "always"]


class PostgresConfig(PluginConfig, frozen=True):
    """What `[plugins.postgres]` may say.

    Kennel's own connection: `socket_dir`, `port`, `user` (None: called like the system's user, as
    peer authentication wants it) and `database`, or `url`, which says it all. Tenants are told
    `tenant_host` (a name, an address or the folder of a socket) and `tenant_port`; None: the same.

    `key_file`: what passwords are derived from; None: one that is made in Kennel's state.
    `connections`: of each tenant at a time. `statement_timeout`: seconds, of each statement of a
    tenant's that sets no other. `extensions`: those a manifest may ask for; None: those PostgreSQL
    trusts. `templates`: databases by the name a manifest calls them. `scrub`: for a project, the
    SQL that makes its snapshot fit for previews.

    `backup_dir`: None: in Kennel's state. `backup_before_drop`: whose databases are dumped before
    they go; `long-lived` is prod, staging and dev. `keep_days`: how long such a dump is kept.
    `programs`: where pg_dump and pg_restore are; None: on PATH. `open_databases`: those that
    tenants may connect to though they are not theirs.
    """

    socket_dir: Path = Path("/run/postgresql")
    port: Port = 5432
    user: str | None = None
    database: str = "postgres"
    url: SecretReference | None = None
    tenant_host: str | None = None
    tenant_port: Port | None = None
    key_file: Path | None = None
    connections: Count = 20
    statement_timeout: Seconds | None = None
    extensions: tuple[str, ...] | None = None
    templates: Mapping[str, str] = MappingProxyType({})
    scrub: Mapping[str, Path] = MappingProxyType({})
    backup_dir: Path | None = None
    backup_before_drop: Dumped = "long-lived"
    keep_days: Count = 30
    programs: Path | None = None
    open_databases: tuple[str, ...] = ()
