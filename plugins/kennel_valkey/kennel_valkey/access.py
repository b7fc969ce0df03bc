"""What a tenant's user may do: as little as the server can hold it to. Pure.

The rules are of `ACL SETUSER`, see https://valkey.io/topics/acl. What each of them keeps away is
said in the README, and tried out by tests/test_adversary.py.
"""

from collections.abc import Collection
from dataclasses import dataclass

from kennel.domain import Tenant, names

VARIABLES = frozenset({"VALKEY_URL", "REDIS_URL", "VALKEY_CHANNELS"})
"""What a service is told: where, and how the channels begin that are its tenant's."""

CATEGORIES = (
    "@string",
    "@hash",
    "@list",
    "@set",
    "@sortedset",
    "@stream",
    "@bitmap",
    "@hyperloglog",
    "@geo",
    "@keyspace",
    "@transaction",
    "@blocking",
    "@connection",
    "@pubsub",
)
"""What data is made of. Those of modules are not among them: nobody here knows what they reach."""

SCRIPTS = ("@scripting",)

GIVEN = ("flushdb", "keys", "sort", "sort_ro", "info", "time", "memory|usage")
"""Of no harm to others, and what clients ask for; the server counts most as dangerous."""

TAKEN = (
    "copy",  # reaches into other databases
    "move",
    "swapdb",
    "flushall",
    "clusterscan",
    "function",  # is the whole server's
    "fcall",
    "fcall_ro",
    "pubsub",  # lists the channels of others
    "client",  # others' connections; and tracking tells the names of everybody's keys
    "script",  # others' scripts: flush, kill, show
    "select",
)

HARMLESS = (
    "client|capa",
    "client|getname",
    "client|help",
    "client|id",
    "client|info",
    "client|no-touch",
    "client|reply",
    "client|setinfo",
    "client|setname",
)
HARMLESS_SCRIPTS = ("script|exists", "script|help", "script|load")


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a server can hold users to.

    `commands`: the names of all it has, `client|id` among them. `confines`: it has rules for
    databases (`db=`, Valkey 9.1). `separates_scripts`: no script changes what another one does.
    """

    commands: frozenset[str]
    confines: bool
    separates_scripts: bool


def user(tenant: Tenant) -> str:
    """Return what the tenant's user is called."""
    return names.database(tenant)


def channels(tenant: Tenant) -> str:
    """Return how the channels begin that are the tenant's own. No tenant's begin like another's."""
    return f"{user(tenant)}:"


def rules(
    tenant: Tenant, number: int, password: str, abilities: Abilities, *, scripts: bool
) -> list[str]:
    """Return the rules of a tenant's user, which undo all it had before.

    `number`: of its database. `password`: the SHA-256 of it.
    """
    has = abilities.commands
    return [
        "reset",
        "on",
        f"#{password}",
        "~*",
        "resetchannels",
        f"&{channels(tenant)}*",
        # of the database by the server's own account: keyspace notifications, and kombu's way
        f"&__keyspace@{number}__:*",
        f"&__keyevent@{number}__:*",
        f"&/{number}.*",
        "-@all",
        *(f"+{category}" for category in (*CATEGORIES, *(SCRIPTS if scripts else ()))),
        "-@admin",
        "-@dangerous",
        *_known("-", TAKEN, has),
        *_known("+", GIVEN, has),
        *_known("+", (*HARMLESS, *(HARMLESS_SCRIPTS if scripts else ())), has),
        f"+select|{number}",
        *([f"db={number}"] if abilities.confines else []),
    ]


def _known(sign: str, commands: Collection[str], known: frozenset[str]) -> list[str]:
    """Leave out what a server does not have: it would refuse all rules for it."""
    return [f"{sign}{command}" for command in commands if command in known]
