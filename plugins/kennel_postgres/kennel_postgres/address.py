"""How a tenant reaches its database."""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from kennel.domain import Env, Secret

VARIABLES = frozenset(
    {"DATABASE_URL", "PGDATABASE", "PGHOST", "PGPASSWORD", "PGPORT", "PGUSER"},
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. `host`: a name, an address, or the folder of its socket."""

    host: str
    port: int

    @property
    def is_socket(self) -> bool:
        return self.host.startswith("/")

    def conninfo(self, name: str, password: Secret, database: str) -> dict[str, str | int]:
        """Return the same for libpq, word by word."""
        return {
            "host": self.host,
            "port": self.port,
            "user": name,
            "password": password.value,
            "dbname": database,
        }

    def env(self, name: str, password: Secret) -> Env:
        """Return the variables of the tenant whose role and database have this name."""
        return {
            "DATABASE_URL": Secret(self._url(name, password)),
            "PGHOST": Secret(self.host),
            "PGPORT": Secret(str(self.port)),
            "PGDATABASE": Secret(name),
            "PGUSER": Secret(name),
            "PGPASSWORD": password,
        }

    def _url(self, name: str, password: Secret) -> str:
        """Return a URL that libpq, psycopg, asyncpg, sqlx, SQLAlchemy and node-postgres read.

        With a socket, the user goes with the rest into the query: a URL with a user and no host
        is none to sqlx, a host that is written `%2Frun` none to SQLAlchemy.
        """
        if self.is_socket:
            words = {"host": self.host, "user": name, "password": password.value}
            if self.port != 5432:  # noqa: PLR2004  the port that everybody takes for granted
                words["port"] = str(self.port)
            return f"postgresql:///{quote(name)}?{urlencode(words, safe='/')}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{quote(name)}:{password.value}@{host}:{self.port}/{quote(name)}"
