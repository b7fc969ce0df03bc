"""A PostgreSQL database for every tenant.

[plugins.postgres]
socket_dir = "/run/postgresql"
"""

from collections.abc import Iterable

from psycopg.conninfo import make_conninfo

from kennel.plugin import PluginSettings, Provisioner, hookimpl
from kennel.plugin.settings import Host, read_secret
from kennel_postgres.backups import Backups
from kennel_postgres.config import PostgresConfig
from kennel_postgres.keys import Keys
from kennel_postgres.provisioner import PostgresProvisioner
from kennel_postgres.server import Server

__all__ = ["PostgresConfig", "PostgresProvisioner", "kennel_provisioners", "provisioner"]


@hookimpl
def kennel_provisioners(settings: PluginSettings) -> Iterable[Provisioner]:
    """Offer the provisioner where there is a table `[plugins.postgres]`. Raises ConfigError."""
    config = settings.read("postgres", PostgresConfig)
    return [] if config is None else [provisioner(config, settings.host)]


def provisioner(config: PostgresConfig, host: Host) -> PostgresProvisioner:
    """Return the provisioner that these settings describe. Raises ConfigError."""
    keys = Keys(config.key_file or host.state_dir / "postgres" / "key")
    folder = config.backup_dir or host.state_dir / "postgres" / "backups"
    backups = Backups(folder, keep_days=config.keep_days)
    return PostgresProvisioner(config, _server(config), keys, backups)


def _server(config: PostgresConfig) -> Server:
    if config.url is not None:
        where = "[plugins.postgres] url"
        url = read_secret(config.url, where=where, example="postgresql:///postgres")
        return Server(url.value, where="url")
    conninfo = make_conninfo(
        "",
        host=str(config.socket_dir),
        port=config.port,
        dbname=config.database,
        user=config.user,
    )
    return Server(conninfo, where="socket_dir")
